"""What a dataset's files are, and whether they are all there."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hgad_jax.data.records import GOOD
from hgad_jax.errors import UserError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
_DEPTH = 3  # folders below the user's in which a dataset is looked for
_SHOWN = 5  # names in a message


class Item(NamedTuple):
    """A file of a dataset and what is known of it.

    Attributes:
        name: path below the dataset's folder, with "/" between its parts.
        class_name: the product it shows.
        split: "train" or "test".
        defect: "good", or the name of the defect.
        image: path of the image, or of the video.
        mask: path of the image or array of its defective pixels.
        frame: its place in an array of several masks.
        frames: images in it; more than one in a video.
    """

    name: str
    class_name: str
    split: str
    defect: str
    image: str
    mask: str | None = None
    frame: int = 0
    frames: int = 1


class Counts(NamedTuple):
    """Images of a class as published."""

    train: int
    good: int  # for testing
    defective: int  # for testing


def locate(root: str, is_dataset: Callable[[str], bool]) -> str | None:
    """Find the folder of a dataset at `root` or a few levels below, the nearest first."""
    level = [root]
    for _ in range(_DEPTH + 1):
        for folder in level:
            if is_dataset(folder):
                return folder
        level = [path for folder in level for path in folders(folder)]
    return None


def folders(path: str) -> list[str]:
    """List the folders in a folder by name, but hidden ones; none if there is no such folder."""
    return [entry.path for entry in _entries(path) if entry.is_dir()]


def files(path: str, suffixes: Sequence[str] = IMAGES) -> list[str]:
    """List the files of some kinds in a folder by name, but hidden ones; none if there is no such folder."""
    return [e.path for e in _entries(path) if e.name.lower().endswith(tuple(suffixes)) and e.is_file()]


def _entries(path: str) -> list[os.DirEntry]:
    if not os.path.isdir(path):
        return []
    try:
        with os.scandir(path) as scan:
            return sorted((e for e in scan if not e.name.startswith(".")), key=lambda entry: entry.name)
    except PermissionError as error:
        raise UserError(f"'{path}' may not be read: {error.strerror}. Change its permissions.") from error


def stem(path: str) -> str:
    """The name of a file without its suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def name_below(folder: str, path: str) -> str:
    """The path below a folder, with "/" between its parts."""
    return os.path.relpath(path, folder).replace(os.sep, "/")


def differences(items: Iterable[Item], published: Mapping[str, Counts]) -> list[str]:
    """Say class by class where the images found are not as many as published."""
    found: collections.Counter = collections.Counter()
    for item in items:
        kind = "train" if item.split == "train" else "good" if item.defect == GOOD else "defective"
        found[item.class_name, kind] += item.frames
    return [
        f"{name}: {found[name, kind]} {'training' if kind == 'train' else kind + ' test'} images instead of "
        f"{getattr(counts, kind)}"
        for name, counts in published.items()
        for kind in Counts._fields
        if found[name, kind] != getattr(counts, kind)
    ]


def classes_without_masks(items: Sequence[Item]) -> list[str]:
    """List the classes whose defective images have no masks at all.

    Raises:
        UserError: only some defective images of a class have one, which no table should be made of.
    """
    bare = [item for item in items if item.defect != GOOD and item.mask is None]
    masked = {item.class_name for item in items if item.mask is not None}
    partly = [item.image for item in bare if item.class_name in masked]
    if partly:
        raise UserError(
            f"{len(partly)} defective images have no mask while others of their class have one: "
            f"{listed(partly)}. Fetch the missing masks, or take all masks of the class away."
        )
    return sorted({item.class_name for item in bare})


def refuse_links(root: str, paths: Iterable[str]) -> None:
    """Refuse symbolic links that leave `root`.

    Raises:
        UserError: a path that does.
    """
    real = os.path.realpath(root)
    for path in (*paths,):
        target = os.path.realpath(path)
        if os.path.commonpath((real, target)) != real:
            raise UserError(
                f"'{path}' leads to '{target}', outside of '{root}'. Copy the files, or allow links with "
                "--config.data.follow_links=True."
            )


def paths(items: Iterable[Item]) -> Iterator[str]:
    """Yield every file of some items."""
    for item in items:
        yield item.image
        if item.mask is not None:
            yield item.mask


def listed(names: Iterable[str]) -> str:
    """Some names for a message."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more
