"""Scores of a class's held-out good images, ordered, and what share of good images is above a score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hgad_jax.scoring.tail import Tail, fit_tails, rates_above, standing_apart
from hgad_jax.scoring.threshold import FEWEST
from hgad_jax.shapes import Bool, Float, Int


class Good(NamedTuple):
    """Of one class.

    Attributes:
      scores: from the lowest on, `[n]`.
      weights: what each counts, of g near-duplicates 1/g each, `[n]`.
      images: which of the images of the calibration they are of, `[n]`.
      apart: which stand apart from all others, bool `[n]`.
      tail: of the others; None with too few of them.
    """

    scores: Float[np.ndarray, " n"]
    weights: Float[np.ndarray, " n"]
    images: Int[np.ndarray, " n"]
    apart: Bool[np.ndarray, " n"]
    tail: Tail | None


def fitted(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[Good, ...]:
    """Of each class, from its scores, their weights and which images they are of, in any order."""
    ordered = []
    for scores, weights, images in parts:
        order = np.argsort(scores, kind="stable")
        apart = standing_apart(scores[order], weights[order])
        ordered.append(Good(scores[order], weights[order], images[order], apart, None))
    enough = [k for k, one in enumerate(ordered) if one.weights[~one.apart].sum() >= FEWEST - 1e-9]
    rest = [ordered[k] for k in enough]
    tails = fit_tails([one.scores[~one.apart] for one in rest], [one.weights[~one.apart] for one in rest])
    for k, tail in zip(enough, tails, strict=True):
        ordered[k] = ordered[k]._replace(tail=tail)
    return tuple(ordered)


def higher_than(p: float) -> str:
    """A p-value for people: "99.3 % of good parts"."""
    digits = 1 if p > 2e-3 else 2 if p > 2e-4 else 3
    return f"{100 * (1 - max(p, 1e-5)):.{digits}f} % of good parts"


def p_value(good: Good, score: float) -> float:
    """The share of good images that score at least as high, estimated: small where the score is unusual.

    Within the scores of good images (m + 1)/(n + 1), m of n being at least as high; beyond the start of their
    tail the mean over the tails that they allow for. The smaller of both, so that it never rises with the
    score; images that stand apart count in the first alone.
    """
    at_least = good.weights[np.searchsorted(good.scores, score, side="left") :].sum()
    counted = float((at_least + 1) / (good.weights.sum() + 1))
    if good.tail is None or score <= good.tail.start:
        return min(counted, 1.0)
    return min(counted, float(rates_above(good.tail, score).mean()))
