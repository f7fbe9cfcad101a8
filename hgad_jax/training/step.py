"""One training step: compiled once, the same program on one device and on many."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hgad_jax.detectors.detector import Detector


class TrainState(NamedTuple):
    """What a step changes."""

    step: jax.Array  # [] int32, steps done
    params: Any
    opt_state: Any


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh with the one axis `data` over the devices given (all, if none are)."""
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Puts host arrays on the mesh, split along their first axis."""
    return jax.device_put(batch, NamedSharding(mesh, P("data")))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Puts a copy of every leaf on each device."""
    return jax.device_put(tree, NamedSharding(mesh, P()))


def init_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """State before the first step."""
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def micro_batched_grad(loss: Callable, params: Any, batch: Any, micro_batches: int):
    """Gradient and metrics of a loss that is a mean over images, computed part by part.

    Parts whose activations fit the processor's cache are faster on a CPU and need less memory everywhere.

    Args:
      loss: (params, part of the batch) → (scalar, metrics).
      params: differentiated.
      batch: pytree of `[B, ...]`.
      micro_batches: number of parts; divides B.

    Returns:
      Gradients and metrics (the loss itself under "loss"), averaged over the parts.
    """

    def grad(part):
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params, part)
        return gradient, {"loss": value, **metrics}

    if micro_batches == 1:
        return grad(batch)
    parts = jax.tree.map(lambda x: x.reshape(micro_batches, -1, *x.shape[1:]), batch)
    shapes = jax.eval_shape(grad, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    summed, _ = jax.lax.scan(lambda acc, part: (jax.tree.map(jnp.add, acc, grad(part)), None), zeros, parts)
    return jax.tree.map(lambda x: x / micro_batches, summed)


def make_train_step(
    detector: Detector,
    optimizer: optax.GradientTransformation,
    weights: Callable[[jax.Array], dict[str, jax.Array]],
    mesh: Mesh,
    *,
    micro_batches: int = 1,
) -> Callable:
    """Builds `step(state, constants, features, labels) → (state, metrics)`, jitted, state donated.

    Args:
      detector: whose loss is minimised.
      optimizer: applied to the gradients averaged over the mesh.
      weights: step → loss weights.
      mesh: devices; the batch is split over its axis `data`, the rest is replicated.
      micro_batches: parts of each device's batch.
    """

    def local_gradients(params, constants, features, labels, step_weights):
        def loss(params, part):
            return detector.loss(params, constants, *part, step_weights)

        inputs = detector.prepare(constants, features, labels)
        result = micro_batched_grad(loss, params, (inputs, labels), micro_batches)
        return jax.lax.pmean(result, "data")

    sharded_gradients = jax.shard_map(
        local_gradients,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data"), P()),
        out_specs=P(),
        # With varying types checked, the gradient of a replicated value is already the *sum* over devices
        # and the average above would silently leave N times the gradient.
        check_vma=False,
    )

    def step(state, constants, features, labels):
        gradients, metrics = sharded_gradients(state.params, constants, features, labels, weights(state.step))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["gradient_norm"] = optax.tree.norm(gradients)
        return TrainState(state.step + 1, params, opt_state), metrics

    # Said outright, so that the second step's inputs look to jit as the first one's did.
    return jax.jit(step, donate_argnums=0, out_shardings=NamedSharding(mesh, P()))
