"""What a dataset is: lists of image files with a class, a split and a defect. Nothing is decoded here.

An image file is a path, or a place in a prepared dataset (`Stored`), whose files hold the encoded images of
thousands. `open_image_file`, `read_image_file` and `image_name` make no difference between the two.
"""

import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from typing import BinaryIO, NamedTuple

from hgad_jax.data.datasets.place import Stored
from hgad_jax.errors import UserError

GOOD = "good"  # the "defect" of a faultless image, as MVTec AD's folders call it


ImageFile = str | Stored  # a path, or a place in a prepared dataset


class Pieces(NamedTuple):
    """A mask in several files: what any of them marks is defective."""

    files: tuple[str, ...]


MaskFile = ImageFile | Pieces


def image_name(image: MaskFile) -> str:
    """Name an image file in a message or a table: its path, or its name in the dataset."""
    if isinstance(image, Pieces):
        return os.path.dirname(image.files[0])
    return image if isinstance(image, str) else image.name


def open_image_file(image: ImageFile) -> BinaryIO:
    """Open an image file, or the stored bytes as a file.

    Raises:
        UserError: the prepared dataset cannot be read.
        OSError: the file cannot be opened.
    """
    return open(image, "rb") if isinstance(image, str) else io.BytesIO(read_image_file(image))


def read_image_file(image: MaskFile) -> bytes:
    """Read the encoded bytes of an image, to compare or to hash them; of several files, one after the other.

    Raises:
        UserError: the file or the prepared dataset cannot be read.
    """
    if isinstance(image, Pieces):
        return b"".join(map(read_image_file, image.files))
    if isinstance(image, Stored):
        from hgad_jax.data.datasets import stored  # here, since only prepared datasets need TFDS

        return stored.read(image)
    try:
        with open(image, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError(f"'{image}' cannot be read: {error.strerror}. Mend or remove it.") from error


class Record(NamedTuple):
    """One image, not decoded, and what is known of it.

    Attributes:
        path: the image: a file's path, or where a prepared dataset stores it.
        class_name: the product or texture it shows.
        split: "train" or "test".
        defect: "good", or the name of the defect.
        mask: the image of its defective pixels; None for good images and where there is no ground truth.
    """

    path: ImageFile
    class_name: str
    split: str
    defect: str
    mask: MaskFile | None = None

    @property
    def anomalous(self) -> bool:
        """Whether the image shows a defect."""
        return self.defect != GOOD


class Dataset(NamedTuple):
    """Records of good images to train on, and of good and defective ones to test with (maybe none).

    Attributes:
        name: of the dataset, for logs and reports.
        classes: in the dataset's own order; a class's position is its id.
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
        good_folders: for each class, where its good training images come from; its keys are the
            classes, in the order of their ids.

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
    for class_name in good_folders:
        if class_name not in trainable:
            raise UserError(
                f"{name}: class '{class_name}' has no good training images: none found in "
                f"'{good_folders[class_name]}', expected at least one. Put images without defects there, "
                "or take the class's folder away."
            )
    return Dataset(name, tuple(good_folders), tuple(train), tuple(test))


def fingerprint(records: Iterable[Record]) -> str:
    """Hash which image files these are and in which order, as a part of a cache key.

    Path, size and times of a file stand for its content, so that none need be read. Moved or touched files
    therefore count as changed. What a prepared dataset stores was hashed when it was prepared, so it may be
    moved. `contents.contents` reads the files, once.

    Returns:
        The SHA-256 in hexadecimal.

    Raises:
        UserError: a file is missing or cannot be looked at.
    """
    digest = hashlib.sha256()
    for record in records:
        digest.update(identity(record.path))
    return digest.hexdigest()


def identity(image: MaskFile) -> bytes:
    """What an image file is known by without reading it: another one, or a changed one, has another.

    Of times there are two. Anyone can set that of the last change of content, and archives do; that of the
    last change of any kind, be it of the name, only the system sets.

    Raises:
        UserError: it is missing or cannot be looked at.
    """
    if isinstance(image, Pieces):
        return b"".join(map(identity, image.files))
    if isinstance(image, Stored):
        source = image.source
        return f"{source.fingerprint}\0{source.split}\0{image.example}\0{image.field}\n".encode()
    try:
        status = os.stat(image)
    except OSError as error:
        raise UserError(
            f"'{image}' was listed a moment ago but cannot be looked at now: {error.strerror}. "
            "Check that the disk is still there and start again."
        ) from error
    times = f"{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return os.fsencode(image) + f"\0{status.st_size}\0{times}\n".encode()
