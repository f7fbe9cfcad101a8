"""One training step: compiled once, the same program on one device and on many."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hgad_jax.detectors.detector import Detector
from hgad_jax.runs.mesh import data_mesh, replicate, shard_batch
from hgad_jax.training.fibre_step import make_fibre_step
from hgad_jax.training.schedules import LossWeights
from hgad_jax.training.state import TrainState, init_state, micro_batched_grad
from hgad_jax.types import Scalar

__all__ = [
    "TrainState",
    "data_mesh",
    "init_state",
    "make_train_step",
    "micro_batched_grad",
    "replicate",
    "shard_batch",
]


def make_train_step(
    detector: Detector,
    optimizer: optax.GradientTransformation,
    weights: LossWeights,
    mesh: Mesh,
    *,
    micro_batches: int = 1,
    seed: int = 0,
) -> Callable:
    """Builds `step(state, constants, features, labels) → (state, metrics)`, jitted, state donated.

    As a fifth argument it takes a `Grid` for each level, if the features are of these positions alone.

    For a detector with `fibres` it takes many optimiser steps (`fibre_step.make_fibre_step`), else one.

    Args:
      detector: whose loss is minimised.
      optimizer: applied to the gradients averaged over the mesh.
      weights: step → loss weights.
      mesh: devices; the batch is split over its axis `data`, the rest is replicated.
      micro_batches: parts of each device's batch.
      seed: of what is random in a step.
    """
    if detector.fibres is not None:
        return make_fibre_step(detector, optimizer, weights, mesh, micro_batches=micro_batches, seed=seed)
    optimizer = optax.with_extra_args_support(optimizer)

    def gradients_of(loss):
        return jax.shard_map(
            functools.partial(_local_gradients, detector, loss, micro_batches),
            mesh=mesh,
            in_specs=(P(), P(), P("data"), P("data"), P(), P()),
            out_specs=P(),
            # With varying types checked, the gradient of a replicated value is already the *sum* over devices
            # and the average below would silently leave N times the gradient.
            check_vma=False,
        )

    def step(state, constants, features, labels, grids=None):
        step_weights, params, opt_state = weights(state.step), state.params, state.opt_state
        metrics: dict[str, Scalar] = {"loss": 0.0, "gradient_norm": 0.0}
        for loss in _losses(detector, len(features)):
            batch = (constants, features, labels, grids, step_weights)
            gradients, found = gradients_of(loss)(params, *batch)
            updates, opt_state = optimizer.update(gradients, opt_state, params, step=state.step)
            params = optax.apply_updates(params, updates)
            metrics["loss"] += found.pop("loss")
            metrics["gradient_norm"] = jnp.hypot(metrics["gradient_norm"], optax.tree.norm(gradients))
            metrics |= found
        return TrainState(state.step + 1, params, opt_state), metrics

    # Said outright, so that the second step's inputs look to jit as the first one's did.
    return jax.jit(step, donate_argnums=0, out_shardings=NamedSharding(mesh, P()))


def _losses(detector: Detector, levels: int) -> list[Callable]:
    """What the optimiser takes a step on, one after the other: all levels together, or each by itself."""
    if detector.optimised.zero_grad == "none" or detector.level_loss is None:
        return [detector.loss]
    level_loss = detector.level_loss

    def of_level(index):
        return lambda params, constants, inputs, labels, weights: level_loss(
            params, constants, inputs, labels, weights, index
        )

    return [of_level(index) for index in range(levels)]


def _local_gradients(
    detector: Detector,
    of_images: Callable,
    micro_batches: int,
    params,
    constants,
    features,
    labels,
    grids,
    step_weights,
):
    """Gradients and metrics of one device's part of a batch, averaged over the devices."""

    def loss(params, part):
        inputs, labels = part
        return of_images(params, constants, inputs, labels, step_weights)

    sampled = () if grids is None else (grids,)
    inputs = detector.prepare(constants, features, labels, *sampled)
    result = micro_batched_grad(
        loss,
        params,
        (inputs, labels),
        micro_batches,
        lambda params: detector.ready(params, inputs, *sampled),
    )
    return jax.lax.pmean(result, "data")
