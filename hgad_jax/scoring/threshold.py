"""From scores of good images to a decision: thresholds with a known false-alarm rate.

Split conformal prediction: with n good images that training has not seen and a new good image, all
exchangeable, the new score is above the k-th smallest of the n with probability at most 1 − k/(n + 1),
whatever the scores' distribution (Vovk, Gammerman, Shafer: Algorithmic learning in a random world, 2005).
That holds on average over calibration sets. For the one set at hand the actual rate is, with continuous
scores, a draw from Beta(n + 1 − k, k) (Vovk: Conditional validity of inductive conformal predictors, 2012),
which is where the interval comes from.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from hgad_jax.errors import UserError
from hgad_jax.shapes import Bool, Float, Num
from hgad_jax.types import Array

CONFIDENCE = 0.95  # of the intervals
PROMISED = ("conformal", "tail")  # kinds of thresholds with a promise
FEWEST = 10  # witnesses that a tail is fitted to
_LEAST_SCALE = 1e-6  # of normalised scores, where all good images score the same


class Threshold(NamedTuple):
    """An image is called anomalous when its score is above `value`.

    Attributes:
      value: on the scale of the raw standardised scores.
      rate: of false alarms among good images, that is promised ("conformal", "tail") or estimated (the
        others).
      interval: 95 % interval of the actual rate, given these calibration images.
      images: good images it was calibrated on, n.
      kind: "conformal", "tail", "manual" or "f1_max".
      typical: the median score of those images, for the normalised scale.
      groups: witnesses that those images are: near-duplicates, such as exposures of one part, are one.
      apart: how many good images more stand apart from all others, and have no part in a tail.
      with_apart: what the conformal threshold of this rate would be with them; None where none stand apart.
    """

    value: float
    rate: float
    interval: tuple[float, float]
    images: int
    kind: str
    typical: float
    groups: int = 0
    apart: int = 0
    with_apart: float | None = None


def conformal_threshold(
    good_scores: Num[Array, "..."], rate: float, weights: Float[np.ndarray, " n"] | None = None
) -> Threshold:
    """The ⌈(n + 1)(1 − rate)⌉-th smallest of n scores; at most `rate` of new good images lie above it.

    With fewer than 1/rate − 1 images no score among them promises that: the highest is taken, which promises
    1/(n + 1), and the result says so in its `rate`.

    With weights the groups are what is exchangeable, and n is their number: the threshold is the lowest score
    that images of (n + 1)(1 − rate) groups are not above, each counting as its share of one (Dunn, Wasserman,
    Ramdas: Distribution-free prediction sets for two-layer hierarchical models, 2023).

    Args:
      good_scores: `[n]`, n ≥ 1, of good images held out of training, finite.
      rate: of false alarms, in (0, 1).
      weights: what each image counts: of g near-duplicates 1/g each; None: 1.
    """
    scores, counts = _in_order(good_scores, weights)
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}, expected a share between 0 and 1")
    below = np.cumsum(counts)  # groups whose images are at most as high
    n = float(below[-1])
    k = int(np.searchsorted(below, (n + 1) * (1 - rate) - 1e-9))  # less the rounding error of the product
    k = min(k, scores.size - 1)
    low, high = _beta_interval(n + 1 - below[k], below[k])
    rate, interval = float(1 - below[k] / (n + 1)), (low, high)
    typical = float(np.median(scores))
    return Threshold(float(scores[k]), rate, interval, scores.size, "conformal", typical, round(n))


def fixed_threshold(
    good_scores: Num[Array, " n"],
    value: float,
    kind: str = "manual",
    weights: Float[np.ndarray, " n"] | None = None,
) -> Threshold:
    """A threshold from elsewhere, with what held-out good images say of its false-alarm rate.

    The rate is (m + 1)/(n + 1) where m of n good images are above; the interval is Clopper and Pearson's.
    """
    scores = np.asarray(good_scores, np.float64)
    counts = np.ones(scores.size) if weights is None else np.asarray(weights, np.float64)
    n, above = float(counts.sum()), float(counts[scores > value].sum())
    low = _beta_interval(above, n - above + 1)[0] if above else 0.0
    high = _beta_interval(above + 1, n - above)[1] if above < n else 1.0
    typical = float(np.median(scores)) if n else float(value)
    rate = (above + 1) / (n + 1)
    return Threshold(float(value), rate, (low, high), scores.size, kind, typical, round(n))


def _in_order(good_scores, weights) -> tuple[np.ndarray, np.ndarray]:
    """Scores from the lowest on, and what each counts."""
    scores = np.asarray(good_scores, np.float64)
    if scores.ndim != 1 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"expected one or more finite scores in one dimension, got shape {scores.shape}")
    order = np.argsort(scores, kind="stable")
    counts = np.ones(scores.size) if weights is None else np.asarray(weights, np.float64)
    return scores[order], counts[order]


def f1_max_threshold(
    scores: Float[np.ndarray, " N"],
    anomalous: Bool[np.ndarray, " N"],
    good_scores: Num[Array, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> Threshold:
    """The threshold with the best F1 on labelled images, halfway to the next lower score.

    Args:
      scores: `[N]` of labelled images.
      anomalous: bool `[N]`, both values present.
      good_scores: `[n]` of held-out good images, for the estimate of the false-alarm rate.
      weights: what each of them counts.

    Raises:
      UserError: there are no good, or no anomalous ones among the labelled images.
    """
    anomalous = np.asarray(anomalous, bool)
    if anomalous.all() or not anomalous.any():
        raise UserError(
            f"An F1-max threshold needs labelled images of both kinds, found {np.sum(~anomalous)} good and "
            f"{np.sum(anomalous)} defective ones. Add the other kind, or use the conformal threshold."
        )
    # Here, since where a model is only loaded there is none.
    from sklearn.metrics import precision_recall_curve

    scores = np.asarray(scores, np.float64)
    precision, recall, values = precision_recall_curve(anomalous, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = values[np.argmax(f1[:-1])]  # scores from here on are called anomalous
    below = scores[scores < best]
    # "Above", not "at least": between two scores, so that rounding decides nothing.
    value = (best + below.max()) / 2 if below.size else np.nextafter(best, -np.inf)
    return fixed_threshold(good_scores, float(value), "f1_max", weights)


def images_needed(rate: float) -> int:
    """How many good images a conformal threshold of this rate needs."""
    return math.ceil(1 / rate - 1e-9) - 1


def normalized(
    score: Float[np.ndarray, "*shape"] | float, threshold: Threshold
) -> Float[np.ndarray, "*shape"] | np.floating:
    """Scores on a scale from 0 to 1 where the threshold is 0.5 and the order is kept.

    0.5 + x/(2(1 + |x|)) with x = (score − value)/(value − typical): a typical good image (the median) gets
    0.25, an image as far above the threshold as that is below 0.75. Unlike a logistic curve it tells apart
    scores that are far out.
    """
    scale = max(threshold.value - threshold.typical, _LEAST_SCALE)
    x = (np.asarray(score, np.float64) - threshold.value) / scale
    return 0.5 + 0.5 * x / (1 + np.abs(x))


def describe(threshold: Threshold, rate: float) -> str:
    """One line for the user: the threshold, what it promises, and whether that is what was asked for."""
    low, high = threshold.interval
    said = (
        f"{threshold.value:.4g} ({threshold.kind}): {threshold.rate:.2%} false alarms "
        f"{'promised' if threshold.kind in PROMISED else 'estimated'}, actual rate within "
        f"{low:.2%} to {high:.2%} ({CONFIDENCE:.0%} interval, {_images(threshold)})"
    )
    if threshold.kind in PROMISED and threshold.rate > rate * (1 + 1e-9):
        said += (
            f"; {rate:.2%} needs {images_needed(rate)} good images held out or, for the fitted tail, {FEWEST}"
        )
    if threshold.apart and threshold.with_apart is not None:
        said += (
            f"; {threshold.apart} of the good images stand{'s' if threshold.apart == 1 else ''} apart from "
            f"all others and {'has' if threshold.apart == 1 else 'have'} no part in it (threshold with them: "
            f"{threshold.with_apart:.4g})"
        )
    return said


def _images(threshold: Threshold) -> str:
    images = f"{threshold.images} good images"
    alike = threshold.groups not in (0, threshold.images)
    return f"{images} in {threshold.groups} groups" if alike else images


def _beta_interval(a: float, b: float) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = betaincinv(a, b, [tail, 1 - tail])
    return float(low), float(high)
