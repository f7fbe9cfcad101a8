"""What a run is trained on: features of good images, their classes, and which of them are held out."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from hgad_jax.data import Dataset, Record
from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import transform_of, visible_boxes
from hgad_jax.data.records import image_name
from hgad_jax.data.split import hold_out
from hgad_jax.data.tiles import example_indices
from hgad_jax.runs import provenance
from hgad_jax.runs.model import Model, sizes_needed

READ = 32  # images at a time from the cache, outside of training steps


class TrainingSet(NamedTuple):
    """Features of the good images, or of their tiles, and which of them are trained on."""

    cache: FeatureCache
    labels: np.ndarray  # [N] int32
    train: np.ndarray  # indices of images or tiles
    held_out: np.ndarray  # likewise; all tiles of an image are on one side
    records: list[Record]  # the images trained on
    test: tuple[Record, ...]  # for the stability report alone
    boxes: np.ndarray  # [images held out, 4], see `geometry.visible_boxes`
    split: str = ""  # digest of which images are held out
    groups: np.ndarray = np.zeros(0, np.int32)  # [images held out], near-duplicates have the same number
    names: tuple[str, ...] = ()  # of the images held out

    def batches(self, indices: np.ndarray, levels: slice = slice(None)):
        """Yields features of all levels, or of some, and labels."""
        for start in range(0, len(indices), READ):
            part = indices[start : start + READ]
            yield self.cache.gather(part, levels=levels), self.labels[part]


def training_set(
    config: Any, dataset: Dataset, cache: FeatureCache, groups: np.ndarray | None = None
) -> TrainingSet:
    """Splits the good images of a dataset, whose features the cache has, as the config says.

    Args:
      config: of the run.
      dataset: whose training images are split.
      cache: their features.
      groups: of near-duplicates, see `runs.near_duplicates`.
    """
    train, held_out = hold_out(
        dataset.train,
        fraction=config.calibration.fraction,
        min_images=config.calibration.min_images,
        seed=config.seed,
        groups=None if groups is None else groups.tolist(),
    )
    split = hashlib.sha256(np.array(held_out, np.int64).tobytes()).hexdigest()[:16]
    labels = np.array([dataset.classes.index(r.class_name) for r in dataset.train], np.int32)
    transform = transform_of(config.data)
    records = [dataset.train[i] for i in train]
    sizes = sizes_needed(transform, [dataset.train[i].path for i in held_out])
    boxes = visible_boxes(transform, sizes)
    names = tuple(image_name(dataset.train[i].path) for i in held_out)
    of_held_out = np.arange(len(held_out)) if groups is None else np.asarray(groups)[held_out]
    train, held_out = example_indices(train, transform), example_indices(held_out, transform)
    labels = labels.repeat(transform.num_tiles)
    return TrainingSet(
        cache, labels, train, held_out, records, dataset.test, boxes, split, of_held_out, names
    )


def provenance_of(config, model: Model, classes, data: TrainingSet, contents, step: int) -> dict[str, Any]:
    """What a checkpoint's metadata says of its run, see `provenance.describe`."""
    return provenance.describe(
        config,
        weights=model.levels.backbone_hash,
        contents=contents,
        step=step,
        classes=classes,
        train=data.labels[data.train],
        held_out=data.labels[data.held_out],
        split=data.split,
    )


def describe(dataset: Dataset, data: TrainingSet, model: Model, num_devices: int) -> str:
    """A line for the user: what there is to train on, and with what."""
    shapes = ", ".join("×".join(map(str, size)) for size in model.levels.sizes)
    tiles = len(data.train) // len(data.records)
    each = f", {tiles} tiles each" if tiles > 1 else ""
    return (
        f"{dataset.name}: {len(dataset.classes)} class(es), {len(data.records)} good images to train on, "
        f"{len(data.held_out) // tiles} to calibrate on{each}; levels {shapes}; {num_devices} device(s)"
    )
