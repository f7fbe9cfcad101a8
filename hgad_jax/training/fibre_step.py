"""A training step that consumes its batch in fibres, as CFLOW-AD does: many optimiser steps in one call."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hgad_jax.detectors.detector import Detector, Fibres
from hgad_jax.training.schedules import LossWeights
from hgad_jax.training.state import TrainState, micro_batched_grad
from hgad_jax.types import Scalar

_LEAST_PART = 1024  # vectors of a micro-batch: smaller ones cost more than they save


class _Run(NamedTuple):
    """What every fibre is trained with."""

    fibres: Fibres
    optimizer: optax.GradientTransformationExtraArgs
    weights: LossWeights
    micro_batches: int
    devices: int


def make_fibre_step(
    detector: Detector,
    optimizer: optax.GradientTransformation,
    weights: LossWeights,
    mesh: Mesh,
    *,
    micro_batches: int,
    seed: int,
) -> Callable:
    """`make_train_step` for a detector with fibres.

    Level by level, the vectors of all images of the batch are shuffled together with their positions and cut
    into fibres; each fibre is one step of the optimiser on that level. A remainder is dropped. On several
    devices each takes an equal share of every fibre, so that the result does not depend on their number.

    Args:
      detector: with `fibres`.
      optimizer: of all levels; if one level's steps are to leave the others alone, as `per_level` makes it.
      weights: step → loss weights.
      mesh: devices.
      micro_batches: parts of a fibre, if they are not too small for that.
      seed: of the shuffles, with the step.
    """
    assert detector.fibres is not None
    run = _Run(detector.fibres, optax.with_extra_args_support(optimizer), weights, micro_batches, mesh.size)

    def step(state, constants, features, labels):
        inputs = detector.prepare(constants, features, labels)
        inputs, labels = jax.tree.map(lambda x: jax.lax.all_gather(x, "data", tiled=True), (inputs, labels))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step), len(inputs))
        metrics: dict[str, Scalar] = {"loss": 0.0, "gradient_norm": 0.0}
        of_levels = run.fibres.constants(constants)
        for index, level in enumerate(inputs):
            state, means = _train_level(run, index, state, of_levels[index], level, labels, keys[index])
            metrics["loss"] += means.pop("loss")
            metrics["gradient_norm"] += means.pop("gradient_norm")
            metrics |= {f"level{index}/{name}": value for name, value in means.items()}
        return state._replace(step=state.step + 1), metrics

    sharded = jax.shard_map(
        step,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=P(),
        check_vma=False,  # as in `make_train_step`
    )
    return jax.jit(sharded, donate_argnums=0, out_shardings=NamedSharding(mesh, P()))


def _train_level(run: _Run, index: int, state: TrainState, constants, inputs, labels, key):
    """All fibres of a level of the whole batch; the state after them and the means of their metrics."""
    size = inputs[0].shape[1:3]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), inputs)
    order = _shuffled(key, len(flat[0]), run.fibres.size, run.devices)
    share = order[:, jax.lax.axis_index("data")]

    def body(carry, chosen):
        params, opt_state = carry
        step_weights = run.weights(state.step)

        def loss(params, part):
            inputs, positions, class_ids = part
            return run.fibres.loss(params, constants, inputs, positions, class_ids, size, step_weights)

        rows = jax.tree.map(lambda x: x[chosen], flat)
        fibre = (rows, chosen % math.prod(size), labels[chosen // math.prod(size)])
        gradient, metrics = _fibre_gradient(run, loss, params[index], fibre)
        gradients = _beside(gradient, index, params, run.fibres.zero_grad)
        updates, opt_state = run.optimizer.update(gradients, opt_state, params, step=state.step)
        params = _apply(params, updates)
        return (params, opt_state), metrics | {"gradient_norm": optax.tree.norm(gradient)}

    (params, opt_state), metrics = jax.lax.scan(body, (state.params, state.opt_state), share)
    means = {name: values.mean() for name, values in metrics.items()}
    return TrainState(state.step, params, opt_state), means


def _fibre_gradient(run: _Run, loss: Callable, params, fibre):
    """Gradient and metrics of one device's share of a fibre: rows of the inputs, positions, class ids."""
    size = len(fibre[-1])
    parts = math.gcd(math.gcd(run.micro_batches, max(1, size // _LEAST_PART)), size)
    found = micro_batched_grad(loss, params, fibre, parts)
    return found if run.devices == 1 else jax.lax.pmean(found, "data")  # XLA would copy and divide


def _shuffled(key: jax.Array, rows: int, size: int, devices: int) -> jax.Array:
    """Rows in random order, `[fibres, devices, share]`."""
    size = min(size, rows)
    count = rows // size
    return jax.random.permutation(key, rows)[: count * size].reshape(count, devices, size // devices)


def _beside(gradient: Any, index: int, params: Any, zero_grad: str) -> Any:
    """The gradient of one level, and those of the others."""

    def absent(level):
        return jax.tree.map(jnp.zeros_like, level) if zero_grad == "zeros" else None

    return tuple(gradient if i == index else absent(level) for i, level in enumerate(params))


def _apply(params: Any, updates: Any) -> Any:
    levels = zip(params, updates, strict=True)
    return tuple(level if update is None else optax.apply_updates(level, update) for level, update in levels)
