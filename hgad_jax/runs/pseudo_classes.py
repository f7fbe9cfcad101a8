"""Classes that a run makes itself: `config.data.classes = "cluster:K"`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hgad_jax.backbones.levels import Levels
from hgad_jax.data import Dataset, Record, clusters
from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.pipeline import image_batches
from hgad_jax.data.records import image_name
from hgad_jax.errors import UserError
from hgad_jax.runs import processes
from hgad_jax.runs.extraction import features_of

_FILE = "clusters.json"
_READ = 64  # examples at a time


def num_classes(config: Any, dataset: Dataset) -> int:
    """Classes of the model: K, or those of the dataset."""
    return clusters.num_clusters(config.data.classes) or len(dataset.classes)


def grouped(
    config: Any, dataset: Dataset, cache: FeatureCache, directory: Path, log: Callable[[str], None]
) -> Dataset:
    """The dataset with the training images in pseudo-classes, if the config asks for them.

    The groups are found at a run's first start and kept in its folder; later starts assign to the same.

    Args:
      config: of the run.
      dataset: with its own classes.
      cache: features of `dataset.train`.
      directory: of the run.
      log: gets a line on the groups.

    Returns:
      The dataset; test images keep their own classes, see `regrouped`.
    """
    count = clusters.num_clusters(config.data.classes)
    if count is None:
        return dataset
    pooled = _of_images(_cached(cache), transform_of(config.data).num_tiles)
    path, names = directory / _FILE, clusters.class_names(count)
    if processes.is_first() and not path.exists():
        centroids = clusters.fit(pooled, count, seed=config.seed)
        records = _renamed(dataset.train, centroids, pooled)
        assignment = {image_name(record.path): record.class_name for record in records}
        clusters.save(str(path), centroids, assignment)
    processes.barrier("the groups are saved")  # other hosts may round otherwise, and find others
    records = _renamed(dataset.train, _saved(directory), pooled)
    sizes = ", ".join(f"{name}: {sum(r.class_name == name for r in records)}" for name in names)
    log(f"Images grouped by their features: {sizes} (see {path})")
    return dataset._replace(classes=names, train=records)


def regrouped(config: Any, dataset: Dataset, levels: Levels, directory: Path) -> Dataset:
    """The dataset with every image in the pseudo-class whose centroid is nearest, if the run made any.

    Args:
      config: of the run.
      dataset: with its own classes.
      levels: the backbone.
      directory: of the run.

    Raises:
      UserError: the run's groups are missing or damaged.
    """
    count = clusters.num_clusters(config.data.classes)
    if count is None:
        return dataset
    centroids = _saved(directory)
    tiles = transform_of(config.data).num_tiles
    splits = [
        _renamed(records, centroids, _of_images(_computed(config, levels, records), tiles)) if records else ()
        for records in (dataset.train, dataset.test)
    ]
    return Dataset(dataset.name, clusters.class_names(count), *splits)


def as_metadata(config: Any, directory: Path) -> list[list[float]] | None:
    """The centroids for a checkpoint's metadata, `[K][D]`; None if the run has the dataset's own classes."""
    if clusters.num_clusters(config.data.classes) is None:
        return None
    return _saved(directory).tolist()


def _saved(directory: Path) -> np.ndarray:
    centroids = clusters.load(str(directory / _FILE))
    if centroids is None:
        raise UserError(f"{directory} holds no {_FILE}, which train.py writes: put it back or train anew.")
    return centroids


def _renamed(records: Sequence[Record], centroids: np.ndarray, pooled: np.ndarray) -> tuple[Record, ...]:
    names, ids = clusters.class_names(len(centroids)), clusters.assign(centroids, pooled)
    return tuple(record._replace(class_name=names[k]) for record, k in zip(records, ids, strict=True))


def _cached(cache: FeatureCache) -> Iterator[np.ndarray]:
    for start in range(0, cache.num_examples, _READ):
        yield clusters.pool(cache.gather(np.arange(start, min(start + _READ, cache.num_examples))))


def _computed(config: Any, levels: Levels, records: Sequence[Record]) -> Iterator[np.ndarray]:
    batches = image_batches(
        records,
        transform=transform_of(config.data),
        batch_size=config.scoring.batch_size,
        num_workers=config.data.workers,
    )
    for batch in batches:
        yield clusters.pool(features_of(levels, batch["image"]))[batch["valid"]]


def _of_images(pooled: Iterable[np.ndarray], num_tiles: int) -> np.ndarray:
    """Pooled features of examples → `[N, D]` of images: the mean of each image's tiles."""
    examples = np.concatenate(list(pooled))
    return examples.reshape(-1, num_tiles, examples.shape[1]).mean(1)
