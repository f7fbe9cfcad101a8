"""What a dataset is: lists of image files with a class, a split and a defect. Nothing is decoded here."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hgad_jax.errors import UserError

GOOD = "good"  # the "defect" of a faultless image, as MVTec AD's folders call it


class Record(NamedTuple):
    """One image file.

    Attributes:
        path: the image.
        class_name: the product or texture it shows.
        split: "train" or "test".
        defect: "good", or the name of the defect.
        mask: the image of its defective pixels; None for good images and where there is no ground truth.
    """

    path: str
    class_name: str
    split: str
    defect: str
    mask: str | None = None

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != GOOD


class Dataset(NamedTuple):
    """Records of good images to train on, and of good and defective ones to test with (maybe none).

    Attributes:
        name: of the dataset, for logs and reports.
        classes: sorted; a class's position is its id.
        train: good images only, at least one of each class.
        test: may be empty.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[Record, ...]
    test: tuple[Record, ...]


def build_dataset(name: str, records: Iterable[Record], *, good_folders: Mapping[str, str]) -> Dataset:
    """Split records into train and test and check what every dataset must fulfil.

    Args:
        name: of the dataset.
        records: of both splits, in the order to keep.
        good_folders: for each class, the folder its good training images come from; its keys are the
            classes.

    Raises:
        UserError: a class without a good image to train on.
        ValueError: a defective image in train, or a record of an unlisted class: a reader's mistake.
    """
    train, test = [], []
    for record in records:
        if record.class_name not in good_folders:
            raise ValueError(f"{record} is of none of the classes {sorted(good_folders)}")
        if record.split == "train" and record.anomalous:
            raise ValueError(f"{record} is defective but in train")
        (train if record.split == "train" else test).append(record)
    trainable = {record.class_name for record in train}
    for class_name in sorted(good_folders):
        if class_name not in trainable:
            raise UserError(
                f"{name}: class '{class_name}' has no good training images: none found in "
                f"'{good_folders[class_name]}', expected at least one. Put images without defects there, "
                "or take the class's folder away."
            )
    return Dataset(name, tuple(sorted(good_folders)), tuple(train), tuple(test))


def fingerprint(records: Iterable[Record]) -> str:
    """Hash which image files these are and in which order, as a part of a cache key.

    The path, size and modification time stand for the content: reading every byte of a large dataset
    takes as long as the work that a cache saves, at every start. Moved or touched files therefore
    count as changed, which costs time but never gives stale features.

    Returns:
        The SHA-256 in hexadecimal.

    Raises:
        UserError: a file is missing or cannot be looked at.
    """
    digest = hashlib.sha256()
    for record in records:
        try:
            status = os.stat(record.path)
        except OSError as error:
            raise UserError(
                f"'{record.path}' was listed a moment ago but cannot be looked at now: {error.strerror}. "
                "Check that the disk is still there and start again."
            ) from error
        digest.update(os.fsencode(record.path))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
