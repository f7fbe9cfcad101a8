"""What thresholds promise: for each class, a curve from the rate of false alarms to the threshold."""

from typing import Any

import numpy as np

from hgad_jax.inference.predictor import Predictor
from hgad_jax.scoring.decision import Decision, threshold_of

RATES = np.geomspace(5e-4, 0.5, 80)  # as many as a slider can tell apart


def curve(decision: Decision, class_id: int) -> list[dict[str, float]]:
    """Thresholds of a class at rates of false alarms, from the strictest that its good images can promise on.

    Returns:
      For each: `rate` (promised), `threshold`, and `low` and `high`, the 95 % interval of the actual rate.
    """
    found = {}
    for rate in RATES.tolist():
        t = threshold_of(decision, class_id, rate)
        found[t.rate, t.value] = t  # where images are few, several rates have one threshold
    return [
        {"rate": t.rate, "threshold": t.value, "low": t.interval[0], "high": t.interval[1]}
        for t in sorted(found.values(), key=lambda t: t.rate)
    ]


def promises(predictor: Predictor, mode: str) -> list[dict[str, Any]]:
    """For each class: its threshold as it decides, of images and of pixels, and its curve.

    Args:
      predictor: of a model.
      mode: where images' classes come from: the model's own, or "given" for images whose class is named.
    """
    scorer = predictor.scorer
    named = mode == "given" and scorer.mode != "given"
    decision = scorer.given if named else predictor.decision
    return [
        {
            "class": name,
            "asked": decision.rates[k],
            "threshold": decision.thresholds[k]._asdict(),
            "pixel_threshold": decision.pixel_thresholds[k]._asdict(),
            "curve": curve(decision, k),
        }
        for k, name in enumerate(scorer.classes)
    ]
