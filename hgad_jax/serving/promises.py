"""What thresholds promise: for each class, a curve from the rate of false alarms to the threshold."""

from typing import Any

import numpy as np

from hgad_jax.inference.predictor import Predictor
from hgad_jax.scoring.threshold import conformal_threshold

MOST_POINTS = 80  # of a curve
LOOSEST = 0.5


def curve(good_scores: np.ndarray) -> list[dict[str, float]]:
    """Thresholds at the rates that these good images can promise, from the strictest to `LOOSEST`.

    Args:
      good_scores: `[n]`, n ≥ 1, of held-out good images.

    Returns:
      For each: `rate` (promised), `threshold`, and `low` and `high`, the 95 % interval of the actual rate.
    """
    steps = len(good_scores) + 1
    most = max(1, int(LOOSEST * steps))
    # All of them where they are few, else as many as a slider can tell apart.
    above = np.unique(np.rint(np.geomspace(1, most, MOST_POINTS)).astype(int))
    found = [conformal_threshold(good_scores, count / steps) for count in above.tolist()]
    return [
        {"rate": t.rate, "threshold": t.value, "low": t.interval[0], "high": t.interval[1]} for t in found
    ]


def promises(predictor: Predictor, mode: str) -> list[dict[str, Any]]:
    """For each class: its threshold as it decides, of images and of pixels, and its curve.

    Args:
      predictor: of a model.
      mode: where images' classes come from: the model's own, or "given" for images whose class is named.
    """
    scorer = predictor.scorer
    named = mode == "given" and scorer.mode != "given"
    thresholds = scorer.given.thresholds if named else predictor.thresholds
    pixels = scorer.given.pixel_thresholds if named else scorer.pixel_thresholds
    scores = scorer.calibration.scores[mode]
    image, class_ids = np.asarray(scores.image, np.float64), np.asarray(scores.class_ids)
    pooled = scorer.config.calibration.threshold_per == "model"
    found = []
    for k, name in enumerate(scorer.classes):
        chosen = class_ids == k
        group = image if pooled or not chosen.any() else image[chosen]  # as `class_thresholds` groups them
        found.append(
            {
                "class": name,
                "threshold": thresholds[k]._asdict(),
                "pixel_threshold": pixels[k]._asdict(),
                "curve": curve(group),
            }
        )
    return found
