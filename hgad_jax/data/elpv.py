"""ELPV: electroluminescence images of solar cells, real data that pip installs.

2,624 grey images of 300×300 pixels in two classes, mono- and polycrystalline cells, each with the
probability that the cell is defective. There are labels of images but no masks.

Protocol: probability 0 is normal and 1 is defective; 1/3 and 2/3, where the experts were unsure, are
left out. Of each class's normal images four fifths are for training; the rest and all defective
ones are for testing.

Reference: Deitsch et al., "Segmentation of photovoltaic module cells in uncalibrated
electroluminescence images", Machine Vision and Applications, 2021.
"""

import collections
import hashlib
import importlib.util
import os
from collections.abc import Sequence

from absl import logging

from hgad_jax.data.records import GOOD, Dataset, Record, build_dataset
from hgad_jax.errors import UserError

CLASSES = ("mono", "poly")
DEFECTIVE = "defective"
TRAIN_FRACTION = 0.8
EXPECTED_COUNTS = {
    ("mono", GOOD): 588,
    ("mono", DEFECTIVE): 313,
    ("poly", GOOD): 920,
    ("poly", DEFECTIVE): 402,
}
_REINSTALL = "pip install --force-reinstall --no-deps 'elpv-dataset==1.0.0.post1'"


def load(*, split_seed: int = 0) -> Dataset:
    """List ELPV's images from the installed package `elpv-dataset`; decodes none.

    Args:
        split_seed: of the shuffle that chooses which normal images are for training.

    Raises:
        UserError: the package is missing, or holds other images than it should.
    """
    folder = _data_folder()
    logging.log_first_n(
        logging.WARNING,
        "ELPV is licensed CC BY-NC-SA 4.0: not for commercial use, share alike, name the authors "
        "(https://github.com/zae-bayern/elpv-dataset).",
        1,
    )
    labelled = _read_labels(os.path.join(folder, "labels.csv"))
    _check(folder, labelled)
    records = [
        Record(os.path.join(folder, name), class_name, split, defect)
        for class_name in CLASSES
        for name, split, defect in _split(_of_class(labelled, class_name), split_seed)
    ]
    good_folders = dict.fromkeys(CLASSES, os.path.join(folder, "images"))
    return build_dataset("elpv", records, good_folders=good_folders)


def _data_folder() -> str:
    # The package's own loader decodes all 2,624 images; its folder is all that is needed.
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "The dataset 'elpv' needs the package elpv-dataset (91 MB of images, licence CC BY-NC-SA 4.0), "
            "which is not installed: pip install 'hgad_jax[elpv]'"
        )
    return os.path.join(spec.submodule_search_locations[0], "data")


def _read_labels(path: str) -> list[tuple[str, str, str]]:
    """Read `path probability type` lines into (path, class, defect), without the doubtful ones."""
    defects = {0.0: GOOD, 1.0: DEFECTIVE}
    try:
        with open(path, encoding="utf-8") as file:
            rows = [line.split() for line in file if line.strip()]
        return [(name, kind, defects[float(p)]) for name, p, kind in rows if float(p) in defects]
    except (OSError, ValueError) as error:
        raise UserError(
            f"'{path}' cannot be read as ELPV's labels ({error}); expected lines of 'images/cell0001.png 1.0 "
            f"mono'. Install the package again: {_REINSTALL}"
        ) from error


def _check(folder: str, labelled: Sequence[tuple[str, str, str]]) -> None:
    """Refuse labels that are not those of the protocol, and labels without their image."""
    counts = collections.Counter((kind, defect) for _, kind, defect in labelled)
    differences = [
        f"{defect} {kind}: {counts[kind, defect]} instead of {EXPECTED_COUNTS.get((kind, defect), 0)}"
        for kind, defect in sorted(counts.keys() | EXPECTED_COUNTS.keys())
        if counts[kind, defect] != EXPECTED_COUNTS.get((kind, defect), 0)
    ]
    missing = [name for name, _, _ in labelled if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        differences.append(f"{len(missing)} images are missing, '{missing[0]}' among them")
    if differences:
        raise UserError(
            f"'{folder}' is not the ELPV dataset of the protocol: {'; '.join(differences)}. "
            f"Install the package again: {_REINSTALL}"
        )


def _of_class(labelled: Sequence[tuple[str, str, str]], class_name: str) -> list[tuple[str, str]]:
    return sorted((name, defect) for name, kind, defect in labelled if kind == class_name)


def _split(images: Sequence[tuple[str, str]], seed: int) -> list[tuple[str, str, str]]:
    """Assign (path, defect) pairs of one class to splits: (path, split, defect), in order of paths."""
    good = [name for name, defect in images if defect == GOOD]
    # Shuffled by a hash and not by a random generator, whose stream may change between versions.
    good.sort(key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    train = set(good[: round(TRAIN_FRACTION * len(good))])
    return [(name, "train" if name in train else "test", defect) for name, defect in images]
