"""What tells one dataset from another; the builders have the rest in common."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hgad_jax.data.datasets.items import IMAGES, Counts, Item, classes_without_masks, differences
from hgad_jax.data.records import Record
from hgad_jax.errors import UserError


class Picture(NamedTuple):
    """An image as it is stored.

    Attributes:
        name: path below the dataset's folder.
        image: encoded, as its file holds it.
        mask: likewise, or None.
    """

    name: str
    image: bytes
    mask: bytes | None


class Spec(NamedTuple):
    """A dataset: who made it, what its files look like, and how they are listed and read.

    Attributes:
        title: its name for people.
        page: where it can be downloaded.
        licence: and what it forbids.
        citation: BibTeX.
        tree: what the user's folder should look like, for messages.
        classes: in the order of their ids.
        suffixes: of the files that matter, in small letters.
        is_dataset: tells by the look of a folder whether it is the dataset's.
        items: lists the files in a folder, class by class, in the order to keep.
        problems: says in which way files differ from the published dataset.
        pictures: reads the images of an item.
        assign: from records, as stored, and a seed to records in "train" and "test"; for a dataset
            without a split of its own.
        default_root: where the files are if the user names no folder; "" where the user must.
    """

    title: str
    page: str
    licence: str
    citation: str
    tree: str
    classes: tuple[str, ...]
    is_dataset: Callable[[str], bool]
    items: Callable[[str], list[Item]]
    problems: Callable[[Sequence[Item]], list[str]]
    suffixes: tuple[str, ...] = IMAGES
    pictures: Callable[[Item], Iterator[Picture]] = lambda item: read_picture(item)
    assign: Callable[[list[Record], int], list[Record]] = lambda records, seed: records
    default_root: Callable[[], str] = lambda: ""


def compare_with(published: Mapping[str, Counts]) -> Callable[[Sequence[Item]], list[str]]:
    """Make the check of a dataset with masks: as many images of each class as published."""

    def problems(items: Sequence[Item]) -> list[str]:
        return differences(items, published) + [f"{name}: no masks" for name in classes_without_masks(items)]

    return problems


def read_picture(item: Item) -> Iterator[Picture]:
    """Read the one image of an item."""
    yield Picture(item.name, read_file(item.image), read_file(item.mask) if item.mask else None)


def read_file(path: str) -> bytes:
    """Read a file whole.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be read: {error.strerror}. Mend it or download it again."
        ) from error
