"""What is calibrated on the good images that are held out, and what a run without any says."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hgad_jax.scoring.apart import odd_ones
from hgad_jax.scoring.calibration import Calibration
from hgad_jax.scoring.decision import NO_THRESHOLDS, decide, describe_thresholds
from hgad_jax.training.training_set import TrainingSet


def calibrated(calibrate: Callable, params: Any, constants: Any, data: TrainingSet) -> Calibration:
    """The calibration of a state on the held-out images; `calibrate` as `runs.calibrate` makes it."""
    batches, labels = functools.partial(data.batches, data.held_out), data.labels[data.held_out]
    return calibrate(params, constants, batches, labels, data.boxes, data.groups)


def described_thresholds(
    config: Any, items: Mapping[str, Any], classes: Sequence[str], data: TrainingSet
) -> list[str]:
    """Lines for the user on what a run decides by, once it is trained.

    Args:
      config: of the run.
      items: of its last checkpoint.
      classes: names.
      data: what it was trained on.
    """
    if "calibration" not in items:
        return [NO_THRESHOLDS]
    decision = decide(items["calibration"], config, config.scoring.classes, classes)
    return [*describe_thresholds(classes, decision), *odd_ones(classes, decision, data.names)]
