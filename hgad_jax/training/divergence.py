"""What ends a training that went astray: losses, parameters or scores that are not finite."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints
from hgad_jax.types import Scalar


def mean_metrics(
    pending: Sequence[Mapping[str, Scalar]], done: int, manager: Any, weights: str
) -> dict[str, float]:
    """Means of the metrics of steps, on the host.

    Args:
      pending: of the steps, the last of which is `done`.
      done: steps so far.
      manager: of the run's checkpoints, to say which is kept.
      weights: hash of the backbone's weights.

    Raises:
      UserError: one of them is not finite.
    """
    fetched = jax.device_get(pending)
    for step, metrics in enumerate(fetched, start=done - len(fetched) + 1):
        bad = [name for name, value in metrics.items() if not np.isfinite(value)]
        if bad:
            raise not_finite(f"at step {step}", bad, manager, weights)
    return {name: float(np.mean([metrics[name] for metrics in fetched])) for name in fetched[0]}


def all_finite(tree: Any) -> bool:
    """Whether every number of a pytree is finite."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def not_finite(when: str, names: Sequence[str], manager: Any, weights: str) -> UserError:
    """The error of a training that diverged, with what probably helps."""
    saved = checkpoints.latest_step(manager)
    kept = "no checkpoint was written yet" if saved is None else f"the checkpoint of step {saved} is kept"
    if weights.startswith("random:"):
        remedy = (
            "The backbone's weights are random (config.backbone.source='random'), so its features may be of "
            "any size: take pretrained weights, or config.detector.conditioning='whiten'."
        )
    else:
        remedy = (
            "Training diverged: lower config.train.learning_rate, set config.train.clip_norm, or raise "
            "config.detector.shrinkage."
        )
    return UserError(f"Not finite {when}: {', '.join(names)} ({kept}). {remedy}")
