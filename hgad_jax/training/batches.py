"""What a training step gets: features from the cache, or of images rotated anew at every step."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from hgad_jax.backbones.levels import Levels
from hgad_jax.data import Record
from hgad_jax.data.augment import augmented_batches
from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.pipeline import training_indices
from hgad_jax.training.extraction import Features, features_of


def training_features(
    config: Any,
    levels: Levels,
    records: Sequence[Record],
    cache: FeatureCache,
    chosen: np.ndarray,
    start: int,
) -> Iterator[tuple[Features, np.ndarray]]:
    """Yield the features of each step without end; they depend on the seed and the step alone.

    Args:
      config: of the run; with `config.data.rotation` the backbone runs at every step.
      levels: the backbone.
      records: the images that are trained on.
      cache: features of all good images or their tiles.
      chosen: of these, the examples of `records`, in order.
      start: the first step.

    Yields:
      Features, and the numbers of the examples in the cache `[B]`: this process's part of each batch.
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
            indices = chosen[order[start]]
            yield cache.gather(indices), indices
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
        for batch in batches:
            yield features_of(levels, batch["image"]), chosen[batch["index"]]
