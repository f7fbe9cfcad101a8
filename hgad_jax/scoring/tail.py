"""The tail of good images' scores, fitted: thresholds of rates that few images cannot give by themselves.

Scores far out on their upper side follow a generalised Pareto distribution whatever they are distributed
like as a whole (Pickands: Statistical inference using extreme order statistics, 1975). Its shape, which few
images do not tell, is shared by all products of a model; its scale is each product's own. What a threshold
promises is the mean of the false-alarm rate over all tails that the scores allow for, its interval is that
of the rate over the same tails.

Images that stand apart from all others, as a defective one among the good ones does, have no part in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hgad_jax.scoring.threshold import CONFIDENCE, FEWEST, Threshold, conformal_threshold
from hgad_jax.shapes import Bool, Float

_SHARE = 0.25  # of the scores that are the tail
_LEAST = 8.0  # witnesses in it, where there are as many
_SHAPES = np.linspace(-0.5, 0.6, 23)
_SHAPE_DEVIATION = 0.15  # of shapes before anything is seen: tails of usual scores are nearly exponential
_SCALES = np.exp(np.linspace(np.log(0.1), np.log(10.0), 81))  # times the mean excess
_DRAWS = 4000
_APART = 0.03  # how improbable an image that stands apart is, among as many others
_MOST_APART = 0.05  # of the images stand apart, at most; one may in any case
_LEAST_SPREAD = 1e-9
_NEAR_ZERO = 1e-9  # shapes: there the distribution is exponential
_IMPOSSIBLE = -1e6  # log-likelihood


class Tail(NamedTuple):
    """A sample of the tails that a class's scores allow for.

    Attributes:
      start: score above which the tail is.
      above: share of good images above it, `[D]`.
      shape: ξ, `[D]`.
      scale: σ, `[D]`.
    """

    start: float
    above: np.ndarray
    shape: np.ndarray
    scale: np.ndarray


def fit_tails(scores: Sequence[np.ndarray], weights: Sequence[np.ndarray], *, seed: int = 0) -> list[Tail]:
    """Fits the tail of each class.

    The posterior of shape and scale, on a grid: a normal prior for the shape that all classes share, 1/σ for
    each scale, Jeffreys' for the share above.

    Args:
      scores: `[n]` of the good images of each class, each of at least `FEWEST` witnesses.
      weights: what each image counts: 1, or of g near-duplicates 1/g.
      seed: of the draws.
    """
    parts = [_excesses(s, w) for s, w in zip(scores, weights, strict=True)]
    log_likelihood = [_log_likelihood(excess, weight) for _, excess, weight, _, _ in parts]
    of_shape = -0.5 * (_SHAPES / _SHAPE_DEVIATION) ** 2
    of_shape = of_shape + sum(np.logaddexp.reduce(grid, axis=1) for grid in log_likelihood)
    probability = np.exp(of_shape - np.logaddexp.reduce(of_shape))
    rng = np.random.default_rng(seed)
    shapes = rng.choice(len(_SHAPES), size=_DRAWS, p=probability / probability.sum())
    tails = []
    for (start, excess, weight, inside, total), grid in zip(parts, log_likelihood, strict=True):
        given_shape = np.cumsum(np.exp(grid - np.logaddexp.reduce(grid, axis=1)[:, None]), axis=1)
        drawn = (rng.random(_DRAWS)[:, None] > given_shape[shapes]).sum(1).clip(max=len(_SCALES) - 1)
        above = rng.beta(inside + 0.5, total - inside + 0.5, _DRAWS)
        tails.append(Tail(start, above, _SHAPES[shapes], _SCALES[drawn] * _mean_excess(excess, weight)))
    return tails


def tail_threshold(
    tail: Tail,
    rate: float,
    scores: Float[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
    apart: Bool[np.ndarray, " N"],
) -> Threshold:
    """The threshold of a class whose tail is fitted; `scores` are all its good images', those apart too."""
    value = score_of_rate(tail, rate)
    sides = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    low, high = np.quantile(rates_above(tail, value), sides)
    rest = ~apart
    return Threshold(
        value=value,
        rate=rate,
        interval=(float(low), float(high)),
        images=int(rest.sum()),
        kind="tail",
        typical=float(np.median(scores[rest])),
        groups=round(float(weights[rest].sum())),
        apart=int(apart.sum()),
        with_apart=conformal_threshold(scores, rate, weights).value if apart.any() else None,
    )


def rates_above(tail: Tail, score: float) -> Float[np.ndarray, " D"]:
    """The share of good images above a score in the tail, for each tail that is possible: `[D]`."""
    x = max(score - tail.start, 0.0) / tail.scale
    near_zero = np.abs(tail.shape) < _NEAR_ZERO
    shape = np.where(near_zero, 1.0, tail.shape)
    power = np.maximum(1 + shape * x, 0.0) ** (-1 / shape)
    return tail.above * np.where(near_zero, np.exp(-x), np.where(1 + shape * x > 0, power, 0.0))


def score_of_rate(tail: Tail, rate: float) -> float:
    """The score above which this share of good images is, on the mean over the tails that are possible."""
    low, high = tail.start, tail.start + float(tail.scale.mean())
    while rates_above(tail, high).mean() > rate:
        low, high = high, tail.start + 2 * (high - tail.start)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rates_above(tail, middle).mean() > rate else (low, middle)
    return high


def standing_apart(
    scores: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]
) -> Bool[np.ndarray, " N"]:
    """Which good images stand apart from all others: `[N]`.

    The few highest do if the lowest of them would be, under the tail of the others, higher than the highest
    of as many images with a probability of at most 3 %. So an image is not kept by a second one like it.
    """
    order = np.argsort(-scores, kind="stable")
    most = max(1, int(_MOST_APART * len(scores)))
    found = np.zeros(len(scores), bool)
    for count in range(most, 0, -1):
        rest = order[count:]
        if weights[rest].sum() < FEWEST:
            continue
        (tail,) = fit_tails([scores[rest]], [weights[rest]])
        rate = rates_above(tail, float(scores[order[count - 1]]))
        if np.mean(1 - (1 - rate) ** weights.sum()) <= _APART:
            found[order[:count]] = True
            return found
    return found


def _excesses(scores: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float, float]:
    """Start, excesses above it, their weights, these together, and all weights together."""
    order = np.argsort(-scores, kind="stable")
    falling, counted = scores[order], np.cumsum(weights[order])
    total = float(counted[-1])
    wanted = max(_SHARE * total, min(_LEAST, total / 2))
    number = min(max(int(np.searchsorted(counted, wanted - 1e-9)) + 1, 1), len(scores) - 1)
    start = float(falling[number - 1] + falling[number]) / 2
    return start, falling[:number] - start, weights[order][:number], float(counted[number - 1]), total


def _mean_excess(excess: np.ndarray, weight: np.ndarray) -> float:
    return max(float(np.average(excess, weights=weight)), _LEAST_SPREAD)


def _log_likelihood(excess: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """But for a constant, `[shapes, scales]`; that scales are even in their logarithm is a prior of 1/σ."""
    x = excess / (_SCALES[:, None] * _mean_excess(excess, weight))  # [scales, n]
    shape = _SHAPES[:, None, None]
    inside = 1 + shape * x  # not above 0 past the end of a tail that has one
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(np.abs(shape) < _NEAR_ZERO, -x, -(1 + 1 / shape) * np.log(inside))
    each = np.where(inside > 0, each, _IMPOSSIBLE) - np.log(_SCALES)[:, None]
    return np.sum(each * weight, -1)
