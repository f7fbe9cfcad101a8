"""What a calibration decides with: thresholds of images and pixels, and of what is no known class."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hgad_jax.errors import UserError
from hgad_jax.scoring.calibration import Calibration, pixel_threshold
from hgad_jax.scoring.classes import strangeness_limits
from hgad_jax.scoring.threshold import Threshold, class_thresholds, describe, fixed_threshold

CONFORMAL = "conformal"


class Decision(NamedTuple):
    """Per class, by the class that an image is scored as."""

    thresholds: tuple[Threshold, ...]  # of image scores
    pixel_thresholds: tuple[Threshold, ...]  # of pixel scores, "rate" being a share of good images' pixels
    strangeness_limits: np.ndarray  # [K]; above, the image is of no known class


def decide(calibration: Calibration, config: Any, mode: str, num_classes: int) -> Decision:
    """Thresholds from the stored scores of held-out good images.

    Args:
      calibration: of the run.
      config: its sections `calibration` and `scoring` are read.
      mode: where the class of an image comes from: "given", "inferred" or "mixture".
      num_classes: K.

    Raises:
      UserError: the run was not calibrated for this mode, or the threshold is no number.
    """
    if mode not in calibration.scores:
        raise UserError(
            f"This run was not calibrated for classes '{mode}', only for {', '.join(calibration.scores)}. "
            f"Train with --config.scoring.classes={mode}."
        )
    scores = calibration.scores[mode]
    pooled = config.calibration.threshold_per == "model"
    thresholds = class_thresholds(
        scores.image, scores.class_ids, num_classes, config.calibration.false_alarm_rate, pooled=pooled
    )
    value = manual_value(config.scoring.threshold)
    if value is not None:
        groups = [np.asarray(scores.image)[np.asarray(scores.class_ids) == k] for k in range(num_classes)]
        thresholds = tuple(fixed_threshold(group, value) for group in groups)
    per_pixel = [
        pixel_threshold(scores, None if pooled else k, config.calibration.pixel_rate)
        for k in range(num_classes)
    ]
    limits = strangeness_limits(scores.strangeness, scores.class_ids, num_classes)
    return Decision(thresholds, tuple(per_pixel), limits)


def choose_threshold(
    config: Any, threshold: str | float | None = None, false_alarm_rate: float | None = None
) -> None:
    """Puts what a caller chooses into a run's config, before `decide` reads it.

    Args:
      config: its sections `calibration` and `scoring` are written.
      threshold: of image scores: "conformal" or a number; None for the config's.
      false_alarm_rate: of conformal thresholds; None for the config's.

    Raises:
      UserError: a rate for a threshold that has none.
    """
    if threshold is not None:
        config.scoring.threshold = str(threshold)
    if false_alarm_rate is None:
        return
    if manual_value(config.scoring.threshold) is not None:
        raise UserError(
            f"A false-alarm rate was given, but the threshold is set to {config.scoring.threshold}, whatever "
            "its rate. Leave the rate away, or ask for the conformal threshold: --threshold=conformal."
        )
    config.calibration.false_alarm_rate = false_alarm_rate


def manual_value(threshold: str) -> float | None:
    """The number that `scoring.threshold` holds; None for "conformal".

    Raises:
      UserError: it is neither.
    """
    if threshold == CONFORMAL:
        return None
    try:
        value = float(threshold)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"The threshold is '{threshold}', expected '{CONFORMAL}' or a finite number.")
    return value


def describe_thresholds(classes: Sequence[str], thresholds: Sequence[Threshold], rate: float) -> list[str]:
    """A line per class for the user; one line where all are the same."""
    if len(classes) > 1 and len(set(thresholds)) == 1:
        return [f"threshold of all classes {describe(thresholds[0], rate)}"]
    return [f"threshold of {name} {describe(t, rate)}" for name, t in zip(classes, thresholds, strict=True)]
