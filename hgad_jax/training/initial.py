"""A model before the first step: what is fitted to the good images, and parameters as the seed has them."""

from typing import Any

import jax

from hgad_jax.progress_bar import progress_bar
from hgad_jax.runs import processes
from hgad_jax.runs.model import Model
from hgad_jax.runs.training_set import TrainingSet


def initial_model(config: Any, model: Model, data: TrainingSet) -> tuple[Any, Any]:
    """Parameters and constants before the first step, as the seed has them."""
    number = len(model.levels.sizes)
    with progress_bar(total=number, desc="fitting", unit="level", disable=not processes.is_first()) as bar:
        batches = [_level_batches(data, level, bar) for level in range(number)]
        found = model.detector.init(jax.random.key(config.seed), batches)
        bar.update(number - bar.n)
    return found


def _level_batches(data: TrainingSet, level: int, bar: Any):
    alone = slice(level, level + 1)

    def batches():
        bar.update(max(level - bar.n, 0))  # those before it are done; a level may be read several times
        return ((features[0], labels) for features, labels in data.batches(data.train, alone))

    return batches
