"""The images of `time_to_auroc.py`: magnetic tile and ELPV's classes, one dataset in MVTec AD's layout."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hgad_jax.config import get_config
from hgad_jax.data import Dataset, Record, load_dataset
from hgad_jax.data.records import image_name, read_image_file
from hgad_jax.errors import UserError

TILES = "magnetic_tile"
_PARTS = ("train", "test", "ground_truth")
_SPLIT_SEED = 0  # which good images of ELPV are for testing


def make_folder(magnetic_tile: Path, folder: Path) -> Path:
    """Makes the folder of the three classes, unless it is there; it gets its name when it is whole.

    Args:
      magnetic_tile: the set as a class folder (train/, test/, ground_truth/), or a folder with that in it.
      folder: to be made.

    Raises:
      UserError: no such set, or ELPV is not installed.
    """
    if folder.is_dir():
        return folder
    source = magnetic_tile if (magnetic_tile / "train").is_dir() else magnetic_tile / TILES
    missing = [part for part in _PARTS if not (source / part).is_dir()]
    if missing:
        raise UserError(
            f"--magnetic-tile={magnetic_tile} has no folder {', '.join(missing)}: expected train/good/, "
            "test/<defect>/ and ground_truth/<defect>/ in it, or in a folder magnetic_tile in it."
        )
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in _PARTS:
        shutil.copytree(source / part, unfinished / TILES / part, copy_function=_link)
    for record in _elpv():
        path = unfinished / f"elpv_{record.class_name}" / record.split / record.defect
        path.mkdir(parents=True, exist_ok=True)
        (path / Path(image_name(record.path)).name).write_bytes(read_image_file(record.path))
    unfinished.rename(folder)
    return folder


def _elpv() -> tuple[Record, ...]:
    data = get_config("hgad_folder").data
    data.update(name="elpv", split_seed=_SPLIT_SEED)
    dataset = load_dataset(data)
    return dataset.train + dataset.test


def _link(source: str, target: str) -> str:
    """A hard link where the file system allows one, else a copy."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)
    return target


def fewer(dataset: Dataset, count: int) -> Dataset:
    """At most so many training images, good test images and defective ones of each class, evenly spread."""
    if not count:
        return dataset
    return dataset._replace(train=_spread(dataset.train, count), test=_spread(dataset.test, count))


def _spread(records: Sequence[Record], count: int) -> tuple[Record, ...]:
    kinds = [(record.class_name, record.anomalous) for record in records]
    chosen = set()
    for kind in set(kinds):
        indices = [i for i, found in enumerate(kinds) if found == kind]
        picked = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
        chosen.update(indices[i] for i in picked)
    return tuple(records[i] for i in sorted(chosen))
