"""What a `Decision` says of images: the one way from scores to decisions, whoever asks."""

from typing import NamedTuple

import numpy as np

from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.good import p_value
from hgad_jax.scoring.threshold import normalized
from hgad_jax.shapes import Bool, Float, Int

REJECT, WARN = "reject", "warn"
UNKNOWNS = (REJECT, WARN)


class Judged(NamedTuple):
    """Of `N` images.

    Attributes:
      anomalous: the score is above the threshold of the class that the image is scored as, or it is of no
        known class and `scoring.unknown` is "reject".
      above: the score is above the threshold.
      normalized: the score where 0.5 is the threshold.
      p_value: share of good images with a score at least as high.
      unknown: of no known class; an answer of its own, whatever the score.
      unknown_p_value: share of good images at least as unlike their class.
    """

    anomalous: Bool[np.ndarray, " N"]
    above: Bool[np.ndarray, " N"]
    normalized: Float[np.ndarray, " N"]
    p_value: Float[np.ndarray, " N"]
    unknown: Bool[np.ndarray, " N"]
    unknown_p_value: Float[np.ndarray, " N"]


def judge(
    decision: Decision,
    class_ids: Int[np.ndarray, " N"],
    scores: Float[np.ndarray, " N"],
    strangeness: Float[np.ndarray, " N"],
) -> Judged:
    """Decides on images.

    Args:
      decision: of the model.
      class_ids: the class that each is scored as.
      scores: raw.
      strangeness: of each image.
    """
    class_ids = np.asarray(class_ids)
    values = np.array([threshold.value for threshold in decision.thresholds])
    unknown = np.asarray(strangeness) > decision.strangeness_limits[class_ids]
    above = np.asarray(scores) > values[class_ids]
    each = list(zip(class_ids, np.asarray(scores, float), np.asarray(strangeness, float), strict=True))
    return Judged(
        above | unknown if decision.unknown == REJECT else above,
        above,
        np.array([float(normalized(s, decision.thresholds[k])) for k, s, _ in each]),
        np.array([p_value(decision.good[k], s) for k, s, _ in each]),
        unknown,
        np.array([p_value(decision.strange[k], s) for k, _, s in each]),
    )
