"""All ranking metrics as one fold over thresholds from the highest down.

What changes at a threshold is a handful of counts; AUROC, average precision, F1 and AUPRO are sums over
them. So the metrics of any number of pixels need no more memory than one run of thresholds, and the same
few lines serve images, pixels and, along leading axes, the replicates of a bootstrap.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

FPR_LIMIT = 0.3  # of AUPRO
Values = np.ndarray | np.floating  # of curves `[...]`, also of a single one


class Points(NamedTuple):
    """What each of `n` descending thresholds adds to what lies above it, `[..., n]` float64."""

    negatives: np.ndarray
    positives: np.ndarray
    overlap: np.ndarray  # sum over positives of 1 / (size of their region)


class CurveSums:
    """Curves `[...]` and the area under them, threshold by threshold.

    Args:
      totals: what all thresholds together will have added, `[...]`; the total overlap is the number of
        regions. A curve without negatives or without positives has no metrics (NaN).
      limit: false-positive rate up to which the overlap is averaged.
    """

    def __init__(self, totals: Points, limit: float = FPR_LIMIT):
        self.totals, self.limit = Points(*(np.asarray(t, np.float64) for t in totals)), limit
        zero = np.zeros(self.totals.negatives.shape)
        self._reached = Points(zero, zero, zero)
        self._roc_area = self._precision = self._f1 = self._pro_area = zero

    def add(self, points: Points) -> tuple[Points, Points]:
        """Goes on by `points`; every score above them must have been added before.

        Returns:
          What lies above each threshold without it, and with it, `[..., n]`.
        """
        above = Points(*(r[..., None] + np.cumsum(p, -1) for r, p in zip(self._reached, points, strict=True)))
        before = Points(
            *(
                np.concatenate([r[..., None], a[..., :-1]], -1)
                for r, a in zip(self._reached, above, strict=True)
            )
        )
        fp, tp = above.negatives, above.positives
        self._roc_area = self._roc_area + np.sum(points.negatives * (before.positives + tp) / 2, -1)
        precision = _ratio(tp, tp + fp)
        self._precision = self._precision + np.sum(points.positives * precision, -1)
        f1 = _ratio(2 * tp, tp + fp + self.totals.positives[..., None])
        self._f1 = np.maximum(self._f1, f1.max(-1, initial=0.0))
        self._pro_area = self._pro_area + self._overlap_area(before, above)
        self._reached = Points(
            *(a[..., -1] if a.shape[-1] else r for a, r in zip(above, self._reached, strict=True))
        )
        return before, above

    def _overlap_area(self, before: Points, above: Points) -> Values:
        """Trapezoids of overlap over negatives, the last one cut where the rate reaches the limit."""
        end = self.limit * self.totals.negatives[..., None]
        right = np.minimum(above.negatives, end)
        width = np.maximum(right - before.negatives, 0)
        share = _ratio(width, above.negatives - before.negatives)
        at_right = before.overlap + share * (above.overlap - before.overlap)
        return np.sum(width * (before.overlap + at_right) / 2, -1)

    def metrics(self) -> dict[str, np.ndarray]:
        """`auroc`, `ap`, `f1_max` and `aupro`, each `[...]` in [0, 1] or NaN."""
        negatives, positives, regions = self.totals
        known = (negatives > 0) & (positives > 0)
        values = {
            "auroc": _ratio(self._roc_area, negatives * positives),
            "ap": _ratio(self._precision, positives),
            "f1_max": self._f1,
            "aupro": np.where(regions > 0, _ratio(self._pro_area, self.limit * negatives * regions), np.nan),
        }
        # Sums of many terms may pass 1 by their rounding.
        return {name: np.where(known, np.minimum(value, 1.0), np.nan) for name, value in values.items()}


class CurveSamples:
    """One curve read at fixed false-positive rates while it goes by, exact at each of them.

    Args:
      rates: false-positive rates, ascending from 0.
      totals: as of `CurveSums`, of one curve.
    """

    def __init__(self, rates: np.ndarray, totals: Points):
        self.rates, self._totals = np.asarray(rates, np.float64), totals
        self.recall, self.overlap = np.zeros((2, len(self.rates)))

    def add(self, before: Points, above: Points) -> None:
        """Takes what `CurveSums.add` returned."""
        at = self.rates * float(self._totals.negatives)
        inside = np.flatnonzero((at > before.negatives[0]) & (at <= above.negatives[-1]))
        negatives = np.append(before.negatives[:1], above.negatives)
        for out, first, values, total in (
            (self.recall, before.positives[:1], above.positives, self._totals.positives),
            (self.overlap, before.overlap[:1], above.overlap, self._totals.overlap),
        ):
            values = np.append(first, values) / max(float(total), 1.0)
            out[inside] = np.interp(at[inside], negatives, values)
            if negatives[0] == 0:  # the highest point of the curve's vertical start
                out[0] = values[negatives == 0].max()


def points_of(
    labels: Bool[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    weights: Num[np.ndarray, "*replicates n"] | None = None,
) -> Points:
    """Counts at each distinct score of `[n]` labels and scores, highest first.

    Args:
      labels: true where positive.
      scores: finite.
      weights: `[..., n]`, how often each counts; once if None.
    """
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    weights = np.ones(len(scores)) if weights is None else weights[..., order].astype(np.float64)
    positives = np.add.reduceat(weights * labels, starts, -1)
    negatives = np.add.reduceat(weights * ~labels, starts, -1)
    return Points(negatives, positives, np.zeros_like(positives))


def curve_metrics(points: Points, limit: float = FPR_LIMIT) -> dict[str, np.ndarray]:
    """The metrics of curves that are wholly in memory, `[..., n]` → each `[...]`."""
    sums = CurveSums(Points(*(p.sum(-1) for p in points)), limit)
    sums.add(points)
    return sums.metrics()


def _ratio(numerator: Values, denominator: Values) -> np.ndarray:
    """The quotient, 0 where the denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    return np.divide(numerator, denominator, out=np.zeros(shape), where=np.asarray(denominator) > 0)
