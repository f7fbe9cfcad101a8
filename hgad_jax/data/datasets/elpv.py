"""ELPV: electroluminescence images of solar cells, real data that pip installs.

2,624 grey images of 300×300 pixels in two classes, mono- and polycrystalline cells, each with the
probability that the cell is defective. There are labels of images but no masks.

Protocol: probability 0 is normal and 1 is defective; 1/3 and 2/3, where the experts were unsure, are
left out. Of each class's normal images four fifths are for training; the rest and all defective
ones are for testing.
"""

import collections
import hashlib
import importlib.util
import os
from collections.abc import Sequence

from hgad_jax.data.datasets.builder import ImageDataset
from hgad_jax.data.datasets.items import Item, listed
from hgad_jax.data.datasets.spec import Spec
from hgad_jax.data.records import GOOD, Record, image_name
from hgad_jax.errors import UserError
from hgad_jax.files import read_text

DEFECTIVE = "defective"
TRAIN_FRACTION = 0.8
EXPECTED_COUNTS = {
    ("mono", GOOD): 588,
    ("mono", DEFECTIVE): 313,
    ("poly", GOOD): 920,
    ("poly", DEFECTIVE): 402,
}
_LABELS = "labels.csv"
_DEFECTS = {0.0: GOOD, 1.0: DEFECTIVE}
_SPLIT = "cells"  # stored in one piece: what is for training depends on the seed
_CLASSES = ("mono", "poly")
_PAGE = "https://github.com/zae-bayern/elpv-dataset"
_REINSTALL = "pip install --force-reinstall --no-deps 'elpv-dataset==1.0.0.post1'"


def _package_folder() -> str:
    # The package's own loader decodes all 2,624 images; its folder is all that is needed.
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "The dataset 'elpv' needs the package elpv-dataset (91 MB of images, licence CC BY-NC-SA 4.0), "
            "which is not installed: pip install 'hgad_jax[elpv]'"
        )
    return os.path.join(spec.submodule_search_locations[0], "data")


def _items(folder: str) -> list[Item]:
    labelled = _read_labels(os.path.join(folder, _LABELS))
    labelled.sort(key=lambda row: (_CLASSES.index(row[1]), row[0]))
    return [Item(name, kind, _SPLIT, defect, os.path.join(folder, name)) for name, kind, defect in labelled]


def _read_labels(path: str) -> list[tuple[str, str, str]]:
    """Read `path probability type` lines into (path, class, defect), without the doubtful ones."""
    try:
        rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
        labelled = [(name, kind, _DEFECTS[float(p)]) for name, p, kind in rows if float(p) in _DEFECTS]
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    for name, kind, _ in labelled:
        if kind not in _CLASSES or os.path.isabs(name) or ".." in name.split("/"):
            raise _unreadable(path, f"it has '{name}' of the type '{kind}'")
    return labelled


def _unreadable(path: str, found: str) -> UserError:
    return UserError(
        f"'{path}' cannot be read as ELPV's labels ({found}); expected lines of 'images/cell0001.png 1.0 "
        f"mono'. Get it again from {_PAGE}, or install the package again: {_REINSTALL}"
    )


def _problems(items: Sequence[Item]) -> list[str]:
    found = collections.Counter((item.class_name, item.defect) for item in items)
    missing = [item.name for item in items if not os.path.isfile(item.image)]
    if missing:
        raise UserError(
            f"{len(missing)} images that {_LABELS} names are missing: {listed(missing)}. Get them from "
            f"{_PAGE}, or install the package again: {_REINSTALL}"
        )
    return [
        f"{defect} {kind}: {found[kind, defect]} instead of {expected}"
        for (kind, defect), expected in EXPECTED_COUNTS.items()
        if found[kind, defect] != expected
    ]


def _assign(records: list[Record], seed: int) -> list[Record]:
    """Split records by a seed; their order is kept."""
    train = {
        name
        for kind in _CLASSES
        for name in _training_names(
            [image_name(r.path) for r in records if r.class_name == kind and not r.anomalous], seed
        )
    }
    return [r._replace(split="train" if image_name(r.path) in train else "test") for r in records]


def _training_names(names: Sequence[str], seed: int) -> list[str]:
    """Choose the good images of a class to train on, by their names `elpv/images/cell0001.png`."""

    # Shuffled by a hash and not by a random generator, whose stream may change between versions.
    def order(name: str) -> bytes:
        return hashlib.sha256(f"{seed}:{name.removeprefix('elpv/')}".encode()).digest()

    return sorted(names, key=order)[: round(TRAIN_FRACTION * len(names))]


class ELPV(ImageDataset):
    """ELPV, from the installed package `elpv-dataset` or a folder."""

    name = "elpv"
    spec = Spec(
        title="ELPV",
        page=_PAGE,
        licence="CC BY-NC-SA 4.0: not for commercial use, share alike, name the authors",
        citation="""\
@article{deitsch2021segmentation,
  title={Segmentation of photovoltaic module cells in uncalibrated electroluminescence images},
  author={Deitsch, Sergiu and Buerhop-Lutz, Claudia and Sovetkin, Evgenii and Steland, Ansgar
          and Maier, Andreas and Gallwitz, Florian and Riess, Christian},
  journal={Machine Vision and Applications},
  year={2021}
}""",
        tree="""\
  images/cell0001.png ...
  labels.csv             lines of: images/cell0001.png 1.0 mono
or leave config.data.root empty to use the package: pip install 'hgad_jax[elpv]'""",
        classes=_CLASSES,
        is_dataset=lambda folder: os.path.isfile(os.path.join(folder, _LABELS)),
        items=_items,
        problems=_problems,
        suffixes=(".png", ".csv"),
        assign=_assign,
        default_root=_package_folder,
    )
