"""VisA: 10,821 images of twelve products, split by a table; masks whose values are small numbers."""

import csv
import os
import pathlib
from typing import NoReturn

from hgad_jax.data.datasets.builder import ImageDataset
from hgad_jax.data.datasets.items import Counts, Item
from hgad_jax.data.datasets.spec import Spec, compare_with
from hgad_jax.data.records import GOOD
from hgad_jax.errors import UserError

_TABLE = "split_csv/1cls.csv"
_COLUMNS = ["object", "split", "label", "image", "mask"]
_DEFECTS = {"normal": GOOD, "anomaly": "anomaly"}

_PAGE = "https://github.com/amazon-science/spot-diff"
PUBLISHED = {
    "candle": Counts(900, 100, 100),
    "capsules": Counts(542, 60, 100),
    "cashew": Counts(450, 50, 100),
    "chewinggum": Counts(453, 50, 100),
    "fryum": Counts(450, 50, 100),
    "macaroni1": Counts(900, 100, 100),
    "macaroni2": Counts(900, 100, 100),
    "pcb1": Counts(904, 100, 100),
    "pcb2": Counts(901, 100, 100),
    "pcb3": Counts(905, 101, 100),
    "pcb4": Counts(904, 101, 100),
    "pipe_fryum": Counts(450, 50, 100),
}


def _is_dataset(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, _TABLE))


def _items(folder: str) -> list[Item]:
    """List the table's images: classes in order, normal ones first, then the table's order."""
    order = {name: number for number, name in enumerate(PUBLISHED)}
    rows = _rows(os.path.join(folder, _TABLE))
    items = [item for item in (_item(folder, row) for row in rows) if item is not None]
    items.sort(key=lambda item: (order[item.class_name], item.defect != GOOD))
    return items


def _item(folder: str, row: dict[str, str]) -> Item | None:
    """The item of a row; None where its image is not there, which the counts will tell."""
    image, mask = _path(folder, row["image"]), _path(folder, row["mask"])
    if image is None:
        return None
    defect = _DEFECTS[row["label"]]
    return Item(row["image"], row["object"], row["split"], defect, image, mask if defect != GOOD else None)


def _path(folder: str, name: str) -> str | None:
    """The path of a file that the table names; None where it names none or there is none."""
    path = os.path.join(folder, name)
    return path if name and os.path.isfile(path) else None


def _rows(table: str) -> list[dict[str, str]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"'{table}' cannot be read ({error}). Download VisA again from {_PAGE}") from error
    if reader.fieldnames != _COLUMNS:
        _refuse(table, f"the columns {reader.fieldnames}")
    for row in rows:
        if set(row) != set(_COLUMNS) or None in row.values() or not _is_valid(row):
            _refuse(table, f"the row {list(row.values())}")
    return rows


def _is_valid(row: dict[str, str]) -> bool:
    names = [row["image"], row["mask"]]
    return (
        row["object"] in PUBLISHED
        and row["split"] in ("train", "test")
        and row["label"] in _DEFECTS
        and (row["split"] == "test" or row["label"] == "normal")
        and not any(os.path.isabs(name) or ".." in pathlib.PurePosixPath(name).parts for name in names)
    )


def _refuse(table: str, found: str) -> NoReturn:
    raise UserError(
        f"'{table}' is not VisA's table: it has {found}; expected the columns {','.join(_COLUMNS)} with "
        f"VisA's classes, train or test, normal or anomaly, and paths below its folder. Download VisA again "
        f"from {_PAGE}"
    )


class VisA(ImageDataset):
    """VisA with the one-class split of its authors."""

    name = "visa"
    spec = Spec(
        title="VisA",
        page=_PAGE,
        licence="CC BY 4.0",
        citation="""\
@inproceedings{zou2022spot,
  title={{SPot-the-Difference} Self-Supervised Pre-training for Anomaly Detection and Segmentation},
  author={Zou, Yang and Jeong, Jongheon and Pemula, Latha and Zhang, Dongqing and Dabeer, Onkar},
  booktitle={European Conference on Computer Vision},
  year={2022}
}""",
        tree="""\
  <class>/Data/Images/<Normal or Anomaly>/*.JPG
  <class>/Data/Masks/Anomaly/*.png
  split_csv/1cls.csv""",
        classes=tuple(PUBLISHED),
        is_dataset=_is_dataset,
        items=_items,
        problems=compare_with(PUBLISHED),
        suffixes=(".jpg", ".png", ".csv"),
    )
