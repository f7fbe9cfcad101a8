"""Images of the same group brought together, so that what a group has of its own is used on many at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Int

from hgad_jax.types import Array


def sorted_into_tiles(
    groups: Int[Array, " B"], num_groups: int
) -> tuple[Int[jax.Array, "N T"], Int[jax.Array, " N"], Int[jax.Array, " B"]]:
    """Fills tiles of T rows with images of one group each, in as many tiles as can ever be needed.

    Shapes depend on the numbers of images and groups alone, and the rows are N·T < 2·B.

    Args:
      groups: group of each image, `[B]` integers below G.
      num_groups: G.

    Returns:
      Image of each row of the tiles `[N, T]` (any, where there is none); group of each tile `[N]`; and where
      each image is among the N·T rows `[B]`.
    """
    batch = len(groups)
    size = -(-batch // num_groups)
    present = min(batch, num_groups)  # the worst: each of these has one image more than fills its tiles
    count = present + (batch - present) // size
    order = jnp.argsort(groups)
    images = jnp.bincount(groups, length=num_groups)
    tiles = -(-images // size)
    first_image, first_tile = jnp.cumsum(images) - images, jnp.cumsum(tiles) - tiles
    group_of_tile = jnp.searchsorted(jnp.cumsum(tiles), jnp.arange(count), side="right")
    group_of_tile = jnp.minimum(group_of_tile, num_groups - 1)  # of tiles that are not needed
    start = first_image[group_of_tile] + (jnp.arange(count) - first_tile[group_of_tile]) * size
    rows = order[jnp.minimum(start[:, None] + jnp.arange(size)[None], batch - 1)]
    place = (first_tile * size - first_image)[groups] + jnp.argsort(order)
    return rows, group_of_tile, place
