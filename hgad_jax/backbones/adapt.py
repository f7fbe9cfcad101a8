"""What is done to a frozen backbone's maps before a detector sees them, to each image by itself."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from hgad_jax.errors import UserError

_LEAST = 1e-3  # share of a map's mean square that its variance counts for at least: of one position it is 0
_TINY = 1e-30  # where all features are 0


def adapt(features: jax.Array, *, floor: float, side: int) -> jax.Array:
    """`equalize`, unless `floor` is 0, and then `average_neighbours`.

    Image by image, so that the rounding of an image does not depend on how many go through together.

    Args:
      features: `[B, h, w, C]` float32.
      floor: of `equalize`.
      side: of `average_neighbours`.
    """
    if not floor and side == 1:
        return features

    def of_image(image):
        image = equalize(image[None], floor) if floor else image[None]
        return average_neighbours(image, side)[0]

    return jax.lax.map(of_image, features)


def equalize(features: jax.Array, floor: float) -> jax.Array:
    """Maps whose channels vary as strongly over one image as over another.

    The deviation from the image's mean is divided by its root mean square over the image, each channel's
    own, and the mean by that of all channels. Maps that differ by a factor become the same. It is instance
    normalisation (Ulyanov et al. 2016) that keeps the mean.

    Args:
      features: `[B, h, w, C]` float32.
      floor: share of the variance of all channels that is added to that of each, so that a channel in which
        an image shows nothing stays quiet.

    Returns:
      `[B, h, w, C]` float32.
    """
    mean = features.mean((1, 2), keepdims=True)
    deviation = features - mean
    variance = jnp.mean(deviation**2, (1, 2), keepdims=True)
    overall = variance.mean(-1, keepdims=True)
    overall += _LEAST * jnp.mean(features**2, (1, 2, 3), keepdims=True) + _TINY
    return mean * jax.lax.rsqrt(overall) + deviation * jax.lax.rsqrt(variance + floor * overall)


def average_neighbours(features: jax.Array, side: int) -> jax.Array:
    """The mean over the square around each position, of the positions that there are.

    As PatchCore (Roth et al. 2022, section 3.1) makes its features aware of their surroundings.

    Args:
      features: `[B, h, w, C]`.
      side: of the square in positions, odd.

    Returns:
      `[B, h, w, C]`.
    """
    return nn.avg_pool(features, (side, side), padding="SAME", count_include_pad=False)


def sides_of_levels(neighbours: Sequence[int], num_levels: int) -> tuple[int, ...]:
    """Sides of all levels: 1 for those that `neighbours` does not name.

    Raises:
      UserError: sides for more levels than there are.
    """
    if len(neighbours) > num_levels:
        raise UserError(
            f"config.backbone.neighbours is {tuple(neighbours)}, expected at most {num_levels} numbers: so "
            "many levels are there."
        )
    return (*neighbours, *(1,) * (num_levels - len(neighbours)))
