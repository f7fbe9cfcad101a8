"""Learning rate and loss weights as functions of the step, so that nothing recompiles when they change."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hgad_jax.distributions.part import Weights

Schedule = Callable[[Any], jax.Array]  # of the step
LossWeights = Callable[[Any], Weights]  # likewise


def learning_rate(
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int,
    warmup_start: float,
    final: float,
    hold_steps: int = 1,
) -> Schedule:
    """Linear warm-up, then a cosine.

    Args:
      peak: height of the cosine at step 0. The warm-up ends on the cosine, not on its peak.
      total_steps: where the cosine would reach `final`.
      warmup_steps: length of the warm-up.
      warmup_start: learning rate at step 0, as a fraction of `peak`.
      final: end of the cosine, as a fraction of `peak`.
      hold_steps: the cosine changes every so many steps only; the published schedule holds it for a
        meta-epoch of eight passes.

    Returns:
      step → learning rate.
    """

    def cosine(step):
        held = jnp.floor(step / hold_steps) * hold_steps
        return peak * (final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * held / total_steps)))

    def schedule(step):
        progress = step / max(warmup_steps, 1)
        warm = peak * warmup_start + progress * (cosine(warmup_steps) - peak * warmup_start)
        return jnp.where(step < warmup_steps, warm, cosine(jnp.minimum(step, total_steps)))

    return schedule


def loss_weights(
    weights: Mapping[str, float], *, stage_two_step: int, stage_two_only: tuple[str, ...]
) -> LossWeights:
    """The weight of each loss term at a step: terms of `stage_two_only` are 0 before `stage_two_step`."""

    def schedule_of(name, weight) -> Callable[[Any], Any]:
        if name in stage_two_only:
            return optax.join_schedules(
                [optax.constant_schedule(0.0), optax.constant_schedule(weight)], [stage_two_step]
            )
        return optax.constant_schedule(weight)

    schedules = {name: schedule_of(name, weight) for name, weight in weights.items()}
    return lambda step: {name: schedule(step) for name, schedule in schedules.items()}
