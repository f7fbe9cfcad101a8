"""What a step changes, and the gradient that it is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hgad_jax.types import Array


class TrainState(NamedTuple):
    """What a step changes."""

    step: Array | np.int32  # [], steps done
    params: Any
    opt_state: Any


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """State before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def micro_batched_grad(
    loss: Callable, params: Any, batch: Any, micro_batches: int, ready: Callable = lambda params: params
):
    """Gradient and metrics of a loss that is a mean over images, computed part by part.

    Parts whose activations fit the processor's cache are faster on a CPU and need less memory everywhere.

    Args:
      loss: (`ready(params)`, part of the batch) → (scalar, metrics).
      params: differentiated.
      batch: pytree of `[B, ...]`.
      micro_batches: number of parts; divides B.
      ready: what the parts have in common, computed once; its gradient is taken once, of their sum.

    Returns:
      Gradients and metrics (the loss itself under "loss"), averaged over the parts.
    """
    made, backward = jax.vjp(ready, params)

    def grad(part):
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(made, part)
        return gradient, {"loss": value, **metrics}

    if micro_batches == 1:
        gradient, metrics = grad(batch)
        return *backward(gradient), metrics
    parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
    shapes = jax.eval_shape(grad, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    summed, _ = jax.lax.scan(lambda acc, part: (jax.tree.map(jnp.add, acc, grad(part)), None), zeros, parts)
    gradient, metrics = jax.tree.map(lambda x: x / micro_batches, summed)
    return *backward(gradient), metrics
