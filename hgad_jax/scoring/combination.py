"""Ways to combine levels and terms to one anomaly map, by name.

Each takes the evidence's two terms (per level `[B, h, w]`: log-likelihood, nats per dimension; negative
entropy of the class posterior, nats), the constants for each image, and the side of the map in pixels, and
returns `[B, size, size]`, higher is more anomalous. Levels are brought to that size bilinearly, corners
aligned. docs/measurements.md has a table of what each is worth.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hgad_jax.resize import resize_aligned
from hgad_jax.scoring import paper
from hgad_jax.scoring.constants import LEAST_DEVIATION, Constants, TermConstants
from hgad_jax.scoring.maps import smooth, upsample_and_sum
from hgad_jax.types import Array

Levels = Sequence[Array]


def by_position(levels: Levels, term: TermConstants) -> tuple[Array, ...]:
    """Deviations below good images' mean at the same position."""
    return _standardized(levels, term.position_mean, term.position_deviation)


def by_level(levels: Levels, term: TermConstants) -> tuple[Array, ...]:
    """Deviations below the mean of all positions of good images."""
    return _standardized(
        levels,
        [m[:, None, None] for m in term.level_mean],
        [d[:, None, None] for d in term.level_deviation],
    )


def _standardized(levels, means, deviations):
    return tuple(
        (jnp.broadcast_to(mean, level.shape) - level) / jnp.broadcast_to(deviation, level.shape)
        for level, mean, deviation in zip(levels, means, deviations, strict=True)
    )


def _normality(levels: Levels, term: TermConstants, size: int) -> jax.Array:
    """Sum over levels of exp(value − good images' maximum), as published but for whose maximum it is."""
    return upsample_and_sum(tuple(jnp.exp(m) for m in _below_max(levels, term)), size)


def _below_max(levels: Levels, term: TermConstants) -> list[Array]:
    return [
        level - jnp.broadcast_to(highest[:, None, None], level.shape)
        for level, highest in zip(levels, term.level_max, strict=True)
    ]


def plain(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """Negative log-likelihoods, summed over levels as they are: the joint density in log space."""
    return -upsample_and_sum(tuple(log_likelihood), size)


def level(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """Log-likelihoods standardised per level, summed."""
    return upsample_and_sum(by_level(log_likelihood, constants.log_likelihood), size)


def position(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """Log-likelihoods standardised per position, summed."""
    return upsample_and_sum(by_position(log_likelihood, constants.log_likelihood), size)


def level_max(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """As `level`, but the most anomalous level instead of the sum."""
    return _resized(by_level(log_likelihood, constants.log_likelihood), size).max(0)


def position_max(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """As `position`, but the most anomalous level instead of the sum."""
    return _resized(by_position(log_likelihood, constants.log_likelihood), size).max(0)


def _resized(levels: Levels, size: int) -> jax.Array:
    return jnp.stack([resize_aligned(m[..., None], size, size)[..., 0] for m in levels])


def level_entropy(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """`level` plus the entropy, standardised per level too: the product of the terms in log space."""
    entropy = upsample_and_sum(by_level(negative_entropy, constants.negative_entropy), size)
    return level(log_likelihood, negative_entropy, constants, size) + entropy


def position_entropy(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """`position` plus the entropy, standardised per level."""
    entropy = upsample_and_sum(by_level(negative_entropy, constants.negative_entropy), size)
    return position(log_likelihood, negative_entropy, constants, size) + entropy


def exponential(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """The published likelihood term, relative to good images' maximum; saturates at the number of levels."""
    return len(log_likelihood) - _normality(log_likelihood, constants.log_likelihood, size)


def log_exponential(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """−log of what `exponential` subtracts: does not saturate, dominated by the most normal level."""
    levels = _below_max(log_likelihood, constants.log_likelihood)
    return -jax.nn.logsumexp(_resized(levels, size), axis=0)


def published(
    log_likelihood: Levels, negative_entropy: Levels, constants: Constants, size: int
) -> Float[jax.Array, "B {size} {size}"]:
    """The published product of both terms, smoothed, with good images' maxima in place of the test set's.

    A class whose entropy never varies on good images (as with a single class) has its likelihood term alone:
    the product would be zero.
    """
    likelihood_map = exponential(log_likelihood, negative_entropy, constants, size)
    entropy_map = len(negative_entropy) - _normality(negative_entropy, constants.negative_entropy, size)
    varies = jnp.stack(constants.negative_entropy.level_deviation).max(0) > LEAST_DEVIATION  # [B]
    entropy_map = jnp.where(varies[:, None, None], smooth(entropy_map, paper.SIGMA), 1.0)
    return smooth(likelihood_map, paper.SIGMA) * entropy_map


COMBINATIONS: dict[str, Callable] = {
    "plain": plain,
    "level": level,
    "position": position,
    "level_max": level_max,
    "position_max": position_max,
    "level_entropy": level_entropy,
    "position_entropy": position_entropy,
    "exponential": exponential,
    "log_exponential": log_exponential,
    "paper": published,
}
