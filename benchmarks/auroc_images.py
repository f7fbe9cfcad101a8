"""The images of `time_to_auroc.py`: magnetic tile and ELPV's classes, one dataset in MVTec AD's layout."""

import argparse
import ast
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hgad_jax.config import get_config
from hgad_jax.data import Dataset, Record, load_dataset
from hgad_jax.data.records import image_name, read_image_file
from hgad_jax.errors import UserError

TILES, ELPV = "magnetic_tile", "elpv"
DATASETS = (TILES, ELPV)
_PARTS = ("train", "test", "ground_truth")
_SPLIT_SEED = 0  # which good images of ELPV are for testing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a command line that say which images, and what is changed in every preset."""
    parser.add_argument("--magnetic-tile", type=Path, help="folder of the magnetic tile set")
    parser.add_argument(
        "--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, help="default: both"
    )
    parser.add_argument("--images-per-class", type=int, default=0, help="fewer, to try it out; 0: all")
    parser.add_argument(
        "--set", nargs="+", default=[], type=_setting, metavar="KEY=VALUE", help="settings of every preset"
    )


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def make_folder(magnetic_tile: Path | None, folder: Path, datasets: Sequence[str] = DATASETS) -> Path:
    """Makes the folder of the three classes, unless it is there; it gets its name when it is whole.

    Args:
      magnetic_tile: the set as a class folder (train/, test/, ground_truth/), or a folder with that in it.
      folder: to be made; with fewer classes, its name has the datasets' added.
      datasets: of `DATASETS`, those that are wanted.

    Returns:
      The folder.

    Raises:
      UserError: no such set, or ELPV is not installed.
    """
    wanted = [name for name in DATASETS if name in datasets]
    if len(wanted) < len(DATASETS):
        folder = folder.with_name("_".join((folder.name, *wanted)))
    if folder.is_dir():
        return folder
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    if TILES in wanted:
        _copy_tiles(magnetic_tile, unfinished)
    for record in _elpv() if ELPV in wanted else ():
        path = unfinished / f"elpv_{record.class_name}" / record.split / record.defect
        path.mkdir(parents=True, exist_ok=True)
        (path / Path(image_name(record.path)).name).write_bytes(read_image_file(record.path))
    unfinished.rename(folder)
    return folder


def _copy_tiles(magnetic_tile: Path | None, folder: Path) -> None:
    if magnetic_tile is None:
        raise UserError(
            "--magnetic-tile=DIR: the folder of the magnetic tile set is needed, or --datasets elpv"
        )
    source = magnetic_tile if (magnetic_tile / "train").is_dir() else magnetic_tile / TILES
    missing = [part for part in _PARTS if not (source / part).is_dir()]
    if missing:
        raise UserError(
            f"--magnetic-tile={magnetic_tile} has no folder {', '.join(missing)}: expected train/good/, "
            "test/<defect>/ and ground_truth/<defect>/ in it, or in a folder magnetic_tile in it."
        )
    for part in _PARTS:
        shutil.copytree(source / part, folder / TILES / part, copy_function=_link)


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
