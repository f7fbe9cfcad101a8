"""What a run says of its thresholds at the end of training, or of having none."""

from collections.abc import Mapping, Sequence
from typing import Any

from hgad_jax.runs.training_set import TrainingSet
from hgad_jax.scoring.apart import odd_ones
from hgad_jax.scoring.decision import NO_THRESHOLDS, decide, describe_thresholds


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
