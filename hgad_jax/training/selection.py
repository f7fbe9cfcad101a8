"""Which state of training is kept: of each level, that under which held-out good images are likeliest.

Levels share no parameter, so each is kept from a step of its own, be it the first: a level that training
does not make better stays as its first layer made it. No test image and no label of a defect has a part in
it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hgad_jax.flows.grid import draw_grids
from hgad_jax.runs.mesh import per_image, replicate
from hgad_jax.runs.model import Model
from hgad_jax.runs.training_set import READ, TrainingSet
from hgad_jax.training.state import TrainState
from hgad_jax.types import Array, abstract_array

_GRIDS = 2  # their stream of random numbers among those of a seed
_VECTORS = 4096  # at least so many of each level are looked at, if there are so many


class Best(NamedTuple):
    """The best of each level so far."""

    params: Any  # a tuple of levels
    log_likelihood: Array  # [L], nats per dimension, mean over held-out good images
    step: Array  # [L] int32


class Ongoing(NamedTuple):
    """What a checkpoint holds for going on, where it is not the state of its step that is kept."""

    opt_state: Any
    params: Any  # of the step
    log_likelihood: Array  # as in `Best`
    step: Array


class Selection(NamedTuple):
    """When and how the best state is found; there is none, and nothing to do, where the last one is kept.

    Attributes:
      measure: (params, constants) → `[L]`; None where the last state is kept.
      every: steps between measurements.
      patience: steps without a better state of any level after which training ends; None: never.
      steps: of the whole schedule.
      mesh: the training step's.
    """

    measure: Callable | None
    every: int
    patience: int | None
    steps: int
    mesh: Mesh

    def begin(self, params: Any, constants: Any) -> Best | None:
        """The best state before the first step."""
        if self.measure is None:
            return None
        measured = self.measure(params, constants)
        copies = jax.tree.map(jnp.copy, params)  # the step takes the originals
        return replicate(self.mesh, Best(copies, measured, np.zeros(len(measured), np.int32)))

    def due(self, step: int) -> bool:
        """Whether `after` measures after a step."""
        return self.measure is not None and (step % self.every == 0 or step == self.steps)

    def after(
        self, best: Best | None, params: Any, constants: Any, step: int
    ) -> tuple[Best, dict[str, float]]:
        """The best state after a step that is `due`, and what was measured, for the log of metrics."""
        assert self.measure is not None
        assert best is not None
        measured = self.measure(params, constants)
        # Negative, as losses are.
        metrics = {f"level{i}/held_out": -float(value) for i, value in enumerate(measured)}
        return _update(best, params, measured, np.int32(step)), metrics

    def over(self, best: Best | None, step: int) -> bool:
        """Whether training ends with this step."""
        if step >= self.steps or self.patience is None or best is None:
            return step >= self.steps
        return step - int(np.max(best.step)) >= self.patience


def make_selection(config: Any, model: Model, data: TrainingSet, steps: int, mesh: Mesh) -> Selection:
    """The selection of a run.

    Args:
      config: of the run.
      model: its parts.
      data: what it is trained on.
      steps: of the whole schedule.
      mesh: over whose devices images are spread.
    """
    if config.train.keep == "last":
        return Selection(None, steps, None, steps, mesh)
    per_epoch = len(data.train) / config.train.batch_size
    every = max(1, round(per_epoch))
    patience = math.ceil(config.train.patience * per_epoch) or None
    patience = patience and max(patience, every)  # or it would end before anything was measured
    return Selection(_make_measure(config, model, data, mesh), every, patience, steps, mesh)


def to_items(state: TrainState, best: Best | None) -> dict[str, Any]:
    """What a checkpoint holds: `params` to score images with, `opt_state` to go on with."""
    if best is None:
        return {"params": state.params, "opt_state": state.opt_state}
    going_on = Ongoing(state.opt_state, state.params, best.log_likelihood, best.step)
    return {"params": best.params, "opt_state": going_on}


def from_items(step: int, items: dict[str, Any]) -> tuple[TrainState, Best | None]:
    """Inverse of `to_items`."""
    params, going_on = items["params"], items["opt_state"]
    if not isinstance(going_on, Ongoing):
        return TrainState(np.int32(step), params, going_on), None
    state = TrainState(np.int32(step), going_on.params, going_on.opt_state)
    return state, Best(params, going_on.log_likelihood, going_on.step)


def abstract_items(config: Any, params: Any, optimizer: Any) -> dict[str, Any]:
    """Shapes of what `to_items` gives, to restore a checkpoint into."""
    opt_state = jax.eval_shape(optimizer.init, params)
    if config.train.keep == "last":
        return {"params": params, "opt_state": opt_state}
    of_levels = abstract_array(len(params)), abstract_array(len(params), dtype=np.int32)
    return {"params": params, "opt_state": Ongoing(opt_state, params, *of_levels)}


def kept(state: TrainState, best: Best | None) -> TrainState:
    """The state with the parameters that images are scored with."""
    return state if best is None else state._replace(params=best.params)


def describe(best: Best | None) -> list[str]:
    """For the user: which state is kept."""
    if best is None:
        return []
    found = jax.device_get((best.step, -best.log_likelihood))
    levels = (f"level {i}: step {s} ({v:.4f})" for i, (s, v) in enumerate(zip(*found, strict=True)))
    return [f"Kept, by the likelihood of held-out good images (nats per dimension): {', '.join(levels)}"]


@jax.jit
def _update(best: Best, params: Any, measured: Array, step: Array | np.int32) -> Best:
    better = measured > best.log_likelihood  # never, if it is not a number
    levels = zip(better, best.params, params, strict=True)
    return Best(
        tuple(
            jax.tree.map(lambda old, new, at=at: jnp.where(at, new, old), old, new) for at, old, new in levels
        ),
        jnp.where(better, measured, best.log_likelihood),
        jnp.where(better, step, best.step),
    )


def _make_measure(config: Any, model: Model, data: TrainingSet, mesh: Mesh) -> Callable:
    """The same images at the same positions every time, so that differences are not those of the sample."""
    indices, coarse = data.held_out, model.levels.coarse
    sizes = model.levels.sizes[coarse]
    positions = config.train.positions and max(config.train.positions, math.ceil(_VECTORS / len(indices)))
    parts = [indices[start : start + READ] for start in range(0, len(indices), READ)]
    rng = np.random.default_rng((config.seed, _GRIDS))
    grids = [draw_grids(rng, sizes, positions) for _ in parts]
    replicated = 2 if grids[0] is None else 3

    log_likelihood = model.detector.log_likelihood
    assert log_likelihood is not None  # else `runs.early` refuses the config

    def of_images(params, constants, *rest):
        *places, features, labels = rest
        return log_likelihood(params, constants, features, labels, *places)

    spread = per_image(of_images, replicated=replicated, mesh=mesh)

    def measure(params: Any, constants: Any) -> np.ndarray:
        """Mean log-likelihood of the held-out good images per level, `[L]` float32, nats per dimension."""
        total = np.zeros(len(sizes))
        for part, grid in zip(parts, grids, strict=True):
            # Filled up, so that one program does for all parts.
            rows = part[np.minimum(np.arange(min(READ, len(indices))), len(part) - 1)]
            places = () if grid is None else (replicate(mesh, grid),)
            inputs = data.cache.gather(rows, grid, levels=coarse), data.labels[rows]
            found = jax.device_get(spread(params, constants, *places, *inputs))
            total += [float(np.sum(level[: len(part)], dtype=np.float64)) for level in found]
        return (total / len(indices)).astype(np.float32)

    return measure
