"""Whether false alarms among new good images are what was promised: an exact test, class by class."""

import math
from typing import NamedTuple

from scipy import stats

from hgad_jax.scoring.good import Good
from hgad_jax.scoring.tail import rates_above
from hgad_jax.scoring.threshold import CONFIDENCE, Threshold

LEVEL = 0.01  # of the test over all classes: below, the promise is broken and not just unlucky


class Share(NamedTuple):
    """So many of so many.

    Attributes:
      number: how many.
      total: of how many.
      rate: their share; None of none.
      interval: 95 % interval of Clopper and Pearson; None of none.
    """

    number: int
    total: int
    rate: float | None
    interval: tuple[float, float] | None


def share(count: int, total: int) -> Share:
    """A share with its interval."""
    if not total:
        return Share(count, total, None, None)
    found = stats.binomtest(count, total).proportion_ci(CONFIDENCE, method="exact")
    return Share(count, total, count / total, (float(found.low), float(found.high)))


def surprise(threshold: Threshold, good: Good, false_alarms: int, total: int) -> float | None:
    """How probable at least so many false alarms among so many new good images are, under the promise.

    What the images of calibration leave open is part of it: a conformal threshold's actual rate is a draw
    from its beta distribution, a tail's is one of the rates that its scores allow for.

    Args:
      threshold: of the class.
      good: that it was taken from.
      false_alarms: among new good images.
      total: new good images.

    Returns:
      The probability; None where nothing was promised, or there are no images.
    """
    if not total:
        return None
    if threshold.kind == "tail" and good.tail is not None:
        return float(stats.binom.sf(false_alarms - 1, total, rates_above(good.tail, threshold.value)).mean())
    if threshold.kind == "conformal":
        n = float(good.weights.sum())
        below = (1 - threshold.rate) * (n + 1)
        return float(stats.betabinom.sf(false_alarms - 1, total, n + 1 - below, below))
    return None


def is_broken(p: float | None, classes: int) -> bool:
    """Whether a class's surprise is too small for chance, so many classes being tested."""
    return p is not None and math.isfinite(p) and p * classes < LEVEL
