"""What a training step gets: features from the cache, or of images rotated anew at every step."""

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from hgad_jax.backbones.levels import Levels
from hgad_jax.data import Record
from hgad_jax.data.augment import augmented_batches
from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.pipeline import training_indices
from hgad_jax.flows.grid import Grid, draw_grids, take
from hgad_jax.runs.extraction import Features, features_of
from hgad_jax.runs.mesh import replicate, shard_rows

_GRIDS = 1  # their stream of random numbers among those of a seed


def training_features(
    config: Any,
    levels: Levels,
    records: Sequence[Record],
    cache: FeatureCache,
    chosen: np.ndarray,
    start: int,
) -> Generator[tuple[Features, np.ndarray, tuple[Grid, ...] | None]]:
    """Yield the features of each step without end; they depend on the seed and the step alone.

    Args:
      config: of the run; with `config.data.rotation` the backbone runs at every step.
      levels: the backbone.
      records: the images that are trained on.
      cache: features of all good images or their tiles.
      chosen: of these, the examples of `records`, in order.
      start: the first step.

    Yields:
      Features, the numbers of the examples in the cache `[B]`: this process's part of each batch, and the
      positions that the features are of, the same for all processes; None for whole maps.
    """
    settings = {
        "batch_size": config.train.batch_size,
        "seed": config.seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
    if not config.data.rotation:
        order = training_indices(len(chosen), **settings)
        while True:
            indices, grids = chosen[order[start]], _grids(config, levels, start)
            yield cache.gather(indices, grids, levels=levels.coarse), indices, grids
            start += 1
    batches = augmented_batches(
        records,
        transform=transform_of(config.data),
        degrees=config.data.rotation,
        num_workers=config.data.workers,
        start=start,
        **settings,
    )
    with contextlib.closing(batches):
        for step, batch in enumerate(batches, start):
            features = features_of(levels, batch["image"])[levels.coarse]
            grids = _grids(config, levels, step)
            if grids is not None:
                features = tuple(take(x, grid, 1) for x, grid in zip(features, grids, strict=True))
            yield features, chosen[batch["index"]], grids


def placed(
    mesh: Mesh, batch_size: int, features: Features, labels: np.ndarray, grids: tuple[Grid, ...] | None
) -> tuple[Any, ...]:
    """A batch on the mesh, as the arguments that a training step takes it in; `grids` only if there are any.

    Args:
      mesh: of the step.
      batch_size: images, over all devices of all processes.
      features: per level `[b, h, w, C]`, this process's part.
      labels: class ids `[b]`.
      grids: the positions that the features are of; None: all.
    """
    rows = shard_rows(mesh, (features, labels), batch_size)
    return rows if grids is None else (*rows, replicate(mesh, grids))


def _grids(config, levels: Levels, step: int) -> tuple[Grid, ...] | None:
    rng = np.random.default_rng((config.seed, step, _GRIDS))
    return draw_grids(rng, levels.sizes[levels.coarse], config.train.positions)
