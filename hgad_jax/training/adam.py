"""Adam with the published form of weight decay, its bias correction counted in either of two ways."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from hgad_jax.training.schedules import Schedule

COUNTS = ("steps", "gradients")
_EPSILON = 1e-8


class OwnCounts(NamedTuple):
    """State of Adam whose parameters count for themselves."""

    count: Any  # of each array, [] int32: updates since its first gradient
    mean: Any  # of its gradients
    square: Any  # of their squares


def adam(
    schedule: Schedule,
    *,
    beta1: float,
    beta2: float,
    weight_decay: float,
    clip_norm: float,
    decayed: tuple[str, ...] = ("flow",),
    count: str = "steps",
) -> optax.GradientTransformationExtraArgs:
    """Adam over a tuple of `LevelParams`.

    Args:
      schedule: step → learning rate.
      beta1: decay of the mean of gradients.
      beta2: decay of their squares.
      weight_decay: added to the gradient times the parameter *before* Adam's scaling (the L2 penalty of
        PyTorch's Adam, not AdamW), for parameters of the parts `decayed` only.
      clip_norm: bound of the gradient's global norm; 0 leaves it as it is.
      decayed: names of these parts in a level's parameters.
      count: what the bias correction counts: `"steps"`, or of each array `"gradients"`, from the first one
        that is not zero everywhere on. Until then the array is left alone, as PyTorch does with parameters
        that no loss has depended on yet.
    """

    def mask(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: any(is_in(d, path) for d in decayed), params)

    parts = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    if count == "gradients":
        parts.append(_own_counts(beta1, beta2, weight_decay, mask))
    else:
        parts += [optax.add_decayed_weights(weight_decay, mask=mask)] if weight_decay else []
        parts.append(optax.scale_by_adam(b1=beta1, b2=beta2))
    return optax.chain(*parts, _scale_by_schedule(schedule))


def is_in(part: str, path: Any) -> bool:
    """Whether a place in a pytree, as jax tells it, is in the part of this name."""
    return any(getattr(key, "name", None) == part for key in path)


def _own_counts(beta1: float, beta2: float, weight_decay: float, mask) -> optax.GradientTransformation:
    """Adam's scaling, the penalty added first, of each array from its first gradient on."""

    def init(params):
        return OwnCounts(
            jax.tree.map(lambda _: jnp.zeros((), jnp.int32), params),
            jax.tree.map(jnp.zeros_like, params),
            jax.tree.map(jnp.zeros_like, params),
        )

    def of_array(gradient, count, mean, square, value, decayed):
        started = (count > 0) | jnp.any(gradient != 0)
        if decayed and weight_decay:
            gradient = gradient + jnp.where(started, weight_decay, 0.0) * value
        count = count + started
        mean = beta1 * mean + (1 - beta1) * gradient  # zero until it has started
        square = beta2 * square + (1 - beta2) * gradient**2
        number = jnp.maximum(count, 1)
        scaled = jnp.sqrt(square / (1 - beta2**number)) + _EPSILON
        return mean / (1 - beta1**number) / scaled, count, mean, square

    def update(updates, state, params=None):
        found = jax.tree.map(of_array, updates, *state, params, mask(params))
        return _nth(found, 0, updates), OwnCounts(*(_nth(found, i, updates) for i in (1, 2, 3)))

    return optax.GradientTransformation(init, update)


def _nth(found: Any, index: int, like: Any) -> Any:
    """One of the results of each array, in the structure of a tree."""
    return jax.tree.map(lambda _, results: results[index], like, found)


def _scale_by_schedule(schedule: Schedule) -> optax.GradientTransformationExtraArgs:
    """Times minus the learning rate of the step that `update` is told."""

    def update(updates, state, params=None, **extra):
        del params
        rate = schedule(extra["step"])
        return jax.tree.map(lambda u: -rate * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
