"""Normalisation constants from held-out good images, so that an image's score depends on it alone.

Maps of different levels, classes and positions have different means and deviations on good images. Fitted
on good images that training has not seen and stored with the model, these constants make them comparable.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax.scoring.maps import smooth, upsample_and_sum

# Weight of the level's pooled variance in a position's, in images: a position's own variance, from a few
# dozen images, is uncertain.
_PRIOR_IMAGES = 10
_LEAST_DEVIATION = 1e-6  # nats per dimension


class Calibration(NamedTuple):
    """Mean and deviation of the log-likelihood of good images, per level."""

    position_mean: tuple[jax.Array, ...]  # [K, h, w]
    position_deviation: tuple[jax.Array, ...]  # [K, h, w]
    level_mean: tuple[jax.Array, ...]  # [K]
    level_deviation: tuple[jax.Array, ...]  # [K]


def fit_calibration(
    log_likelihood: Sequence[np.ndarray], labels: np.ndarray, num_classes: int
) -> Calibration:
    """Fits the constants.

    Args:
      log_likelihood: per level `[N, h, w]`, of held-out good images given their class.
      labels: class ids `[N]`; each class at least twice.
      num_classes: K.
    """
    levels = [[_fit(maps[labels == k]) for k in range(num_classes)] for maps in log_likelihood]
    stacked = [[jnp.asarray(np.stack(a), jnp.float32) for a in zip(*level, strict=True)] for level in levels]
    return Calibration(*(tuple(a) for a in zip(*stacked, strict=True)))


def _fit(maps: np.ndarray) -> tuple[np.ndarray, ...]:
    maps = maps.astype(np.float64)
    variance = maps.var(0)
    weight = len(maps) / (len(maps) + _PRIOR_IMAGES)
    deviation = np.sqrt(weight * variance + (1 - weight) * variance.mean())
    # Where good images never vary, any difference is very odd; the floor keeps it a finite number.
    return (
        maps.mean(0),
        np.maximum(deviation, _LEAST_DEVIATION),
        maps.mean(),
        np.maximum(maps.std(), _LEAST_DEVIATION),
    )


def abstract_calibration(sizes: Sequence[tuple[int, int, int]], num_classes: int) -> Calibration:
    """Shapes and dtypes of a calibration, to restore one into; sizes are (h, w, C) of each level."""
    maps = tuple(jax.ShapeDtypeStruct((num_classes, h, w), np.float32) for h, w, _ in sizes)
    scalars = tuple(jax.ShapeDtypeStruct((num_classes,), np.float32) for _ in sizes)
    return Calibration(maps, maps, scalars, scalars)


def standardize(
    calibration: Calibration, log_likelihood: Sequence[jax.Array], class_ids: jax.Array, by: str
) -> tuple[jax.Array, ...]:
    """How many deviations below good images' mean each position is, per level `[B, h, w]`.

    Args:
      calibration: the constants.
      log_likelihood: per level `[B, h, w]`.
      class_ids: `[B]`, whose constants are used.
      by: `"position"` or `"level"`.
    """
    if by == "position":
        constants = zip(calibration.position_mean, calibration.position_deviation, strict=True)
        constants = [(mean[class_ids], deviation[class_ids]) for mean, deviation in constants]
    else:
        constants = zip(calibration.level_mean, calibration.level_deviation, strict=True)
        constants = [(m[class_ids][:, None, None], d[class_ids][:, None, None]) for m, d in constants]
    return tuple(
        (jnp.broadcast_to(mean, maps.shape) - maps) / jnp.broadcast_to(deviation, maps.shape)
        for maps, (mean, deviation) in zip(log_likelihood, constants, strict=True)
    )


def anomaly_map(
    calibration: Calibration,
    log_likelihood: Sequence[jax.Array],
    class_ids: jax.Array,
    *,
    by: str,
    size: int,
    sigma: float,
) -> jax.Array:
    """Standardised levels, summed and smoothed: `[B, size, size]`, higher is more anomalous."""
    levels = standardize(calibration, log_likelihood, class_ids, by)
    return smooth(upsample_and_sum(levels, size), sigma)
