"""The sides of `time_to_auroc.py`: something that trains for so many seconds, and can be saved and restored.

A side has `seconds` of training and `batches` done; `advance(seconds)` trains until that much time or its
schedule is over; `model()` gives parameters and constants as our detectors have them; `save` and `restore` a
file. The clock counts reading features, the step and nothing else: compilation is done before it starts.
"""

import abc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from auroc_judge import Problem

from hgad_jax.data.pipeline import training_indices
from hgad_jax.errors import UserError
from hgad_jax.files import writing
from hgad_jax.flows.grid import draw_grids
from hgad_jax.runs.mesh import data_mesh, replicate
from hgad_jax.training.batches import placed, training_features
from hgad_jax.training.loop import Schedule, initial_model, make_schedule, make_step
from hgad_jax.training.selection import Best, kept, make_selection
from hgad_jax.training.step import TrainState, init_state


class Side(abc.ABC):
    """What both have in common: the clock, and when training is over."""

    seconds = 0.0  # of training
    batches = 0
    compile_seconds = 0.0
    total: int  # batches of the whole schedule
    per_pass: float  # batches of a pass over the training images

    @property
    def finished(self) -> bool:
        """Whether training is over."""
        return self.batches >= self.total

    def advance(self, seconds: float, tick: Callable[[float], None] = lambda seconds: None) -> None:
        """Trains until the clock has reached so many seconds; `tick` is told those of each batch."""
        if self.finished or self.seconds >= seconds:
            return
        self._prepare()
        while not self.finished and self.seconds < seconds:
            start = time.perf_counter()
            self._train_batch()
            self.batches += 1
            passed = time.perf_counter() - start
            self.seconds += passed
            tick(passed)

    @abc.abstractmethod
    def _prepare(self) -> None:
        """What is not to be timed, such as compilation."""

    @abc.abstractmethod
    def _train_batch(self) -> None:
        """Trains on one batch, to its end."""


class JaxSide(Side):
    """hgad_jax as its config says."""

    def __init__(
        self,
        problem: Problem,
        seed: int,
        *,
        epochs: float | None = None,
        optimizer: Callable[[Schedule], Any] | None = None,
        parameters: Callable[[TrainState], Any] | None = None,
    ):
        """Draws a model.

        Args:
          problem: preset and data.
          seed: of everything random.
          epochs: passes; None for the config's.
          optimizer: makes another one than the config's.
          parameters: those that are evaluated, where that are not the ones that were kept.
        """
        self.config, self.data = problem.seeded(seed)
        if epochs is not None:
            self.config.train.epochs = epochs
        self._model, self._mesh = problem.model, data_mesh()
        self.batch_size = self.config.train.batch_size
        self.per_pass = len(self.data.train) / self.batch_size
        self._schedule = make_schedule(self.config, self._model.detector, len(self.data.train))
        if optimizer:
            self._schedule = self._schedule._replace(optimizer=optimizer(self._schedule))
        self.total = self._schedule.steps
        self._selection = make_selection(self.config, self._model, self.data, self.total, self._mesh)
        self._parameters = parameters or (lambda state: kept(state, self._best).params)
        self._step, self._features = None, None

    def begin(self) -> None:
        """Draws parameters and fits the first layer, which are no training steps."""
        params, constants = initial_model(self.config, self._model, self.data)
        self._place(init_state(params, self._schedule.optimizer), None, constants)
        self._best = self._selection.begin(self._state.params, self._constants)

    def _place(self, state: Any, best: Best | None, constants: Any) -> None:
        self._state, self._best, self._constants = replicate(self._mesh, (state, best, constants))

    @property
    def finished(self) -> bool:
        """Whether training is over."""
        return self._selection.over(self._best, self.batches)

    def _prepare(self) -> None:
        """Opens the features where training is, and compiles on a copy of the state, once."""
        if self._features is None:
            self._features = training_features(
                self.config,
                self._model.levels,
                self.data.records,
                self.data.cache,
                self.data.train,
                self.batches,
            )
        if self._step is None:
            self._step = make_step(self.config, self._model, self._schedule, self._mesh)
            copy, start = jax.tree.map(jnp.copy, self._state), time.perf_counter()
            indices = self.data.train[np.arange(self.batch_size) % len(self.data.train)]
            grids = draw_grids(
                np.random.default_rng(0), self._model.levels.sizes, self.config.train.positions
            )
            batch = self._placed(self.data.cache.gather(indices, grids), indices, grids)
            jax.block_until_ready(self._step(copy, self._constants, *batch))
            if self._best is not None:
                self._selection.after(self._best, self._state.params, self._constants, self.batches)
            self.compile_seconds = time.perf_counter() - start

    def _placed(self, levels, indices, grids) -> Any:
        return placed(self._mesh, self.batch_size, levels, self.data.labels[indices], grids)

    def _train_batch(self) -> None:
        self._state, metrics = self._step(self._state, self._constants, *self._placed(*next(self._features)))
        _refuse_diverged(float(metrics["loss"]), self.batches)  # waits for the step
        done = self.batches + 1
        if self._selection.due(done):
            found = self._selection.after(self._best, self._state.params, self._constants, done)
            self._best = jax.block_until_ready(found[0])

    def held_out(self) -> float:
        """Mean log-likelihood of held-out good images, nats per dimension, mean over levels, of `model()`."""
        config = self.config.copy_and_resolve_references()
        config.train.keep = "best"
        measuring = make_selection(config, self._model, self.data, self.total, self._mesh)
        return float(measuring.measure(*self.model()).mean())

    def model(self) -> tuple[Any, Any]:
        """Parameters and constants."""
        return self._parameters(self._state), self._constants

    def save(self, path: Path) -> None:
        """Writes the state, whole or not at all."""
        leaves = jax.device_get(jax.tree.leaves((self._state, self._best, self._constants)))
        arrays = {f"leaf{i}": leaf for i, leaf in enumerate(leaves)}
        with writing(path) as file:
            np.savez(file, seconds=self.seconds, **arrays)

    def restore(self, path: Path) -> None:
        """Goes on from a saved state."""
        params, constants = self._model.detector.abstract(self._model.levels.sizes)
        state = jax.eval_shape(lambda p: init_state(p, self._schedule.optimizer), params)
        best = Best(params, 0, 0) if self.config.train.keep == "best" else None
        structure = jax.tree.structure((state, best, constants))
        with np.load(path, allow_pickle=False) as file:
            leaves = [file[f"leaf{i}"] for i in range(len(file.files) - 1)]
            self.seconds = float(file["seconds"])
        state, best, constants = jax.tree.unflatten(structure, leaves)
        self.batches = int(state.step)
        self._place(state, best, constants)


class TorchSide(Side):
    """The published recipe in PyTorch, on the same features, images and order of the seed.

    Its schedule is the published one of 200 passes and is not squeezed into the budget: the curve is cut
    where the budget ends.
    """

    def __init__(self, problem: Problem, seed: int):
        """Draws a model.

        Args:
          problem: preset `paper` and data.
          seed: of everything random.
        """
        self.config, self.data = problem.seeded(seed)
        self._sizes, self._classes, self._seed = problem.model.levels.sizes, problem.model.num_classes, seed
        self.batch_size = self.config.train.batch_size
        self.per_pass = len(self.data.train) // self.batch_size  # the rest of a pass is dropped
        if not self.per_pass:
            raise UserError(
                f"{len(self.data.train)} training images, expected at least a batch of {self.batch_size}."
            )
        self._schedule = make_schedule(self.config, problem.model.detector, self.per_pass * self.batch_size)
        self.total = self._schedule.steps
        self._orders = training_indices(len(self.data.train), batch_size=len(self.data.train), seed=seed)
        self._order = (-1, None)

    def begin(self) -> None:
        """Draws the parameters."""
        import torch_hgad  # here, since only this side needs PyTorch

        self._published = torch_hgad.PublishedHGAD(
            self.config, self._sizes, self._classes, self._schedule, self._seed
        )

    def _prepare(self) -> None:
        """Nothing to compile."""

    def _train_batch(self) -> None:
        number, batch = divmod(self.batches, self.per_pass)
        if self._order[0] != number:
            self._order = number, self.data.train[self._orders[number]]
        indices = self._order[1][batch * self.batch_size :][: self.batch_size]
        features = self.data.cache.gather(indices)
        losses = self._published.step(self.batches, features, self.data.labels[indices])
        _refuse_diverged(sum(sum(terms.values()) for terms in losses), self.batches)

    def model(self) -> tuple[Any, Any]:
        """Parameters and constants, as our detector has them."""
        return self._published.model()

    def save(self, path: Path) -> None:
        """Writes the state, whole or not at all."""
        import torch

        state = {"seconds": self.seconds, "batches": self.batches, "state": self._published.state()}
        with writing(path) as file:
            torch.save(state, file)

    def restore(self, path: Path) -> None:
        """Goes on from a saved state."""
        import torch

        self.begin()
        saved = torch.load(path, weights_only=True)
        self.seconds, self.batches = saved["seconds"], saved["batches"]
        self._published.restore(saved["state"])


def _refuse_diverged(loss: float, batches: int) -> None:
    if not np.isfinite(loss):
        raise UserError(f"The loss of batch {batches + 1} is not finite: training has diverged.")
