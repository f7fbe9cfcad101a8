"""Where an image lies in a prepared dataset: plain values, that nothing is opened for."""

from typing import NamedTuple


class Source(NamedTuple):
    """One split of a prepared dataset on the disk; opened when an image of it is first read.

    Attributes:
        folder: of the prepared dataset.
        split: its name there.
        fingerprint: hash of the dataset's name, version and content, wherever the folder is.
    """

    folder: str
    split: str
    fingerprint: str


class Stored(NamedTuple):
    """An encoded image in a prepared dataset. Cheap to pickle, and to be had by any thread or process.

    Attributes:
        source: where it is stored.
        example: its number there.
        field: of the example: "image" or "mask".
        name: for people, such as "mvtec_ad/bottle/test/broken_large/000.png".
    """

    source: Source
    example: int
    field: str
    name: str
