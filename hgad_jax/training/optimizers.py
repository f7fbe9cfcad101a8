"""The optimiser of a run: Adam (`adam.py`), and AltUB's alternation around it.

All schedules are functions of the training step, which `update` is given as `step=…`: there is one count of
steps, that of `TrainState`, also where an optimiser is called many times in a step (CFLOW-AD's fibres).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hgad_jax.detectors import Detector
from hgad_jax.training.adam import adam, is_in
from hgad_jax.training.schedules import Schedule

__all__ = ["adam", "alternating", "create", "per_level"]


def create(
    config: Any, detector: Detector, learning_rate: Schedule, num_examples: int
) -> optax.GradientTransformationExtraArgs:
    """The optimiser of a run.

    Args:
      config: the whole one.
      detector: whose parameters it is for.
      learning_rate: step → η1.
      num_examples: images of an epoch.
    """
    train, optimised = config.train, detector.optimised
    keys = config[optimised.alternation] if optimised.alternated else None
    optimizer = adam(
        learning_rate,
        beta1=train.beta1,
        beta2=train.beta2,
        weight_decay=train.weight_decay,
        clip_norm=train.clip_norm,
        decayed=(optimised.decayed, *([optimised.alternated] if keys and keys.decayed else [])),
        count=train.adam_count,
    )
    if keys:

        def epoch(step):
            return step * train.batch_size // num_examples

        optimizer = alternating(
            optimizer,
            optimised.alternated,
            frozen=lambda step: (epoch(step) + keys.first_epoch) % keys.freeze_interval == 0,
            started=lambda step: epoch(step) >= keys.start_epoch,
            rate=lambda step: keys.rate_ratio * learning_rate(step),
            clip=keys.clip,
            clip_by=keys.clip_by,
        )
    separate = detector.fibres is not None and detector.fibres.zero_grad == "none"
    return per_level(optimizer) if separate else optimizer


def per_level(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """An optimiser of its own for each level; a level whose gradients are None is left as it is."""
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params):
        return tuple(optimizer.init(level) for level in params)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        done = [
            (None, s) if u is None else optimizer.update(u, s, p, **extra)
            for u, s, p in zip(updates, state, params, strict=True)
        ]
        return tuple(u for u, _ in done), tuple(s for _, s in done)

    return optax.GradientTransformationExtraArgs(init, update)


def alternating(
    optimizer: optax.GradientTransformation,
    part: str,
    *,
    frozen: Callable[[jax.Array], jax.Array],
    started: Callable[[jax.Array], jax.Array],
    rate: Schedule,
    clip: float,
    clip_by: str,
) -> optax.GradientTransformationExtraArgs:
    """AltUB's update rule: ψ is a part of every level's parameters (its base distribution), θ are the others.

    In most steps `optimizer` updates both. In frozen ones θ stays and ψ takes a step of plain SGD; the
    optimiser's state stays too. Which it is depends on the step alone, so that nothing is recompiled.

    Args:
      optimizer: of the other steps.
      part: name of ψ in a level's parameters.
      frozen: step → whether θ is.
      started: step → whether ψ is trained yet.
      rate: step → learning rate η2 of the SGD.
      clip: bound of ψ's gradients, in either kind of step; 0: none.
      clip_by: `"norm"`, the global norm of ψ's gradients, or `"value"`, each entry.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def update(updates, state, params=None, **extra):
        step = extra["step"]
        # Before its start the part has no gradient at all: its means and counts begin with it.
        updates = _map_parts(part, lambda g: jnp.where(started(step), g, 0.0), lambda g: g, updates)
        updates = _clip_part(updates, part, clip, clip_by)

        def usual(updates, state):
            return optimizer.update(updates, state, params, **extra)

        def part_alone(updates, state):
            return _map_parts(part, lambda g: -rate(step) * g, jnp.zeros_like, updates), state

        updates, state = jax.lax.cond(frozen(step) & started(step), part_alone, usual, updates, state)
        return _map_parts(part, lambda u: jnp.where(started(step), u, 0.0), lambda u: u, updates), state

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _map_parts(part: str, of_part: Callable, of_others: Callable, tree: Any) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (of_part if is_in(part, path) else of_others)(leaf), tree
    )


def _clip_part(updates: Any, part: str, clip: float, clip_by: str) -> Any:
    if not clip:
        return updates
    if clip_by == "value":
        return _map_parts(part, lambda g: jnp.clip(g, -clip, clip), lambda g: g, updates)
    squares = _map_parts(part, lambda g: jnp.sum(g**2), lambda g: jnp.zeros(()), updates)
    norm = jnp.sqrt(sum(jax.tree.leaves(squares)))
    factor = jnp.minimum(1.0, clip / jnp.maximum(norm, 1e-30))
    return _map_parts(part, lambda g: factor * g, lambda g: g, updates)
