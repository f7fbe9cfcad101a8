"""From maps per level to one anomaly map at image size, and from that to an image score.

Higher anomaly = more anomalous, everywhere in this package's output.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hgad_jax.precision import EXACT
from hgad_jax.resize import resize_aligned
from hgad_jax.types import Array, total


def upsample_and_sum(maps: Sequence[Float[Array, "B _ _"]], size: int) -> Float[jax.Array, "B {size} {size}"]:
    """Sum over levels of maps `[B, h, w]`, each brought to `[B, size, size]` bilinearly, corners aligned."""
    return total(resize_aligned(m[..., None], size, size)[..., 0] for m in maps)


@functools.cache
def _gaussian_matrix(size: int, sigma: float) -> np.ndarray:
    """`[size, size]` rows of a Gaussian filter with mirrored edges (d c b a | a b c d | d c b a).

    Cut off at four deviations, as `scipy.ndimage.gaussian_filter` does by default.
    """
    radius = int(4.0 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    matrix = np.zeros((size, size))
    mirrored = (np.arange(size)[:, None] + offsets[None, :]) % (2 * size)
    mirrored = np.minimum(mirrored, 2 * size - 1 - mirrored)
    np.add.at(matrix, (np.arange(size)[:, None], mirrored), kernel[None, :])
    return matrix.astype(np.float32)


def smooth(maps: Float[Array, "B h w"], sigma: float) -> Float[jax.Array, "B h w"]:
    """Gaussian filter over the last two axes of `[B, h, w]`; sigma in pixels, 0 changes nothing."""
    if sigma == 0:
        return jnp.asarray(maps)
    rows = jnp.asarray(_gaussian_matrix(maps.shape[1], sigma))
    columns = jnp.asarray(_gaussian_matrix(maps.shape[2], sigma))
    return jnp.einsum("yh,bhw,xw->byx", rows, maps, columns, precision=EXACT)


def inside(boxes: Int[Array, "B 4"], size: int) -> Bool[jax.Array, "B {size} {size}"]:
    """Which pixels lie in boxes `[B, 4]` of top, left, height and width: bool `[B, size, size]`."""
    pixels = jnp.arange(size)

    def within(start, length):
        return (pixels[None] >= start[:, None]) & (pixels[None] < (start + length)[:, None])

    rows, columns = within(boxes[:, 0], boxes[:, 2]), within(boxes[:, 1], boxes[:, 3])
    return rows[:, :, None] & columns[:, None, :]


def image_score(
    maps: Float[Array, "B h w"], top_fraction: float, seen: Bool[Array, "B h w"] | None = None
) -> Float[jax.Array, " B"]:
    """Mean of each map's highest values: `[B, h, w]` → `[B]`.

    Args:
      maps: anomaly maps.
      top_fraction: share of pixels in the mean; 0 means the maximum alone.
      seen: bool `[B, h, w]`, pixels that count; None for all.
    """
    flat = maps.reshape(maps.shape[0], -1)
    most = max(1, math.ceil(top_fraction * flat.shape[1]))
    if seen is None:
        return jax.lax.top_k(flat, most)[0].mean(-1)
    seen = seen.reshape(flat.shape)
    count = jnp.clip(jnp.ceil(top_fraction * seen.sum(-1)), 1, most)
    highest = jax.lax.top_k(jnp.where(seen, flat, -jnp.inf), most)[0]
    taken = jnp.arange(most)[None] < count[:, None]
    return jnp.where(taken, highest, 0).sum(-1) / count


def quantile(
    values: Float[Array, "B N"], fraction: float, counted: Bool[Array, "B N"]
) -> Float[jax.Array, " B"]:
    """The value that this share of each row's values is at most: `[B, N]` → `[B]`.

    Args:
      values: finite.
      fraction: 0 to 1.
      counted: bool `[B, N]`, the values that count; at least one of each row.
    """
    ascending = jnp.sort(jnp.where(counted, values, jnp.inf), axis=-1)
    index = jnp.round(fraction * (counted.sum(-1) - 1)).astype(jnp.int32)
    return jnp.take_along_axis(ascending, index[:, None], -1)[:, 0]
