"""Confidence intervals by resampling images, good and defective ones of each class apart."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from hgad_jax.metrics.curves import Points, curve_metrics, points_of
from hgad_jax.metrics.ranking import RANKING

LEVEL = 0.95  # of the intervals
_TOGETHER = 4_000_000  # weights in memory at a time, for image scores
_BLOCK = 64  # images whose counts are weighted in one matrix product


class Resampler:
    """How often each image is drawn in each replicate, image by image: nothing to hold for all of them.

    Images of a stratum are drawn with replacement, as many as there are. Given how many draws are left for
    how many images, the next image's share is binomial, which makes all of them together multinomial.

    Args:
      strata: images of each stratum.
      replicates: R.
      rng: of the draws.
    """

    def __init__(self, strata: Mapping[Any, int], replicates: int, rng: np.random.Generator):
        self._images = dict(strata)
        self._draws = {key: np.full(replicates, count) for key, count in strata.items()}
        self._rng = rng

    def draw(self, stratum: Hashable) -> Int[np.ndarray, " R"]:
        """Weights `[R]` of the next image of a stratum."""
        drawn = self._rng.binomial(self._draws[stratum], 1 / self._images[stratum])
        self._images[stratum] -= 1
        self._draws[stratum] -= drawn
        return drawn


class WeightedCounts:
    """Counts per bin of score, weighted by each replicate's draws: `[R, bins]` however many images.

    Args:
      replicates: R.
      bins: of score.
    """

    def __init__(self, replicates: int, bins: int):
        self._sums = np.zeros((replicates, 3 * bins))
        self._shape = (replicates, 3, bins)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, counts: Num[np.ndarray, "3 bins"], weights: Num[np.ndarray, " R"]) -> None:
        """Adds an image: negatives, positives and overlap `[3, bins]`, and its draws `[R]`."""
        self._waiting.append((counts.ravel(), weights))
        if len(self._waiting) == _BLOCK:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            counts, weights = (np.stack(column) for column in zip(*self._waiting, strict=True))
            self._sums += weights.astype(np.float64).T @ counts
            self._waiting = []

    def metrics(self) -> dict[str, Float[np.ndarray, " R"]]:
        """Each replicate's metrics: name → `[R]`."""
        self._flush()
        negatives, positives, overlap = np.moveaxis(self._sums.reshape(self._shape), 1, 0)
        return curve_metrics(Points(negatives, positives, overlap))


def image_replicates(
    labels: Bool[np.ndarray, " N"],
    scores: Float[np.ndarray, " N"],
    classes: Int[np.ndarray, " N"],
    replicates: int,
    rng: np.random.Generator,
) -> dict[str, Float[np.ndarray, " {replicates}"]]:
    """Ranking metrics of image scores in each replicate, exact: name → `[R]`.

    Args:
      labels: true where anomalous, `[N]`.
      scores: `[N]`.
      classes: ids `[N]`; each class's good and anomalous images are resampled among themselves.
      replicates: R.
      rng: of the draws.
    """
    strata = classes.astype(np.int64) * 2 + labels
    together = max(1, _TOGETHER // max(len(labels), 1))
    parts = []
    for begin in range(0, replicates, together):
        weights = np.zeros((min(together, replicates - begin), len(labels)))
        for stratum in np.unique(strata):
            chosen = np.flatnonzero(strata == stratum)
            even = np.full(len(chosen), 1 / len(chosen))
            weights[:, chosen] = rng.multinomial(len(chosen), even, size=len(weights))
        parts.append(curve_metrics(points_of(labels, scores, weights)))
    return {name: np.concatenate([part[name] for part in parts]) for name in RANKING}


def interval(replicates: Num[np.ndarray, " R"], level: float = LEVEL) -> list[float]:
    """The percentile interval of replicates `[R]`: `[low, high]`."""
    tail = (1 - level) / 2
    return [float(value) for value in np.quantile(replicates, [tail, 1 - tail])]
