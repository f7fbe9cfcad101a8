"""Which folders below a folder hold images, whatever the layout: names are read, nothing is decoded."""

import collections
import os
from typing import NamedTuple

from hgad_jax.data.names import is_hidden
from hgad_jax.data.tree import IMAGE_SUFFIXES

MOST = 1_000_000  # files and folders looked at: a layout shows long before


class Place(NamedTuple):
    """A folder that holds images."""

    parts: tuple[str, ...]  # the way to it from where the survey began
    images: tuple[str, ...]  # names of the files


class Survey(NamedTuple):
    """What is below a folder.

    Attributes:
        root: the folder.
        places: folders that hold images directly, sorted.
        others: how many files there are that are no images by their suffix, by suffix.
        examples: the path of one file of each suffix.
        labels: folders with text files (YOLO's labels are) and no images.
        complete: whether there were less than `MOST` files.
    """

    root: str
    places: list[Place]
    others: collections.Counter
    examples: dict[str, str]
    labels: list[tuple[str, ...]]
    complete: bool


def survey(root: str) -> Survey:
    """Look through a folder; links are not followed, and what cannot be read counts as empty."""
    result = Survey(root, [], collections.Counter(), {}, [], True)
    waiting: list[tuple[str, ...]] = [()]
    seen = 0
    while waiting:
        parts = waiting.pop()
        files, folders = _names(os.path.join(root, *parts))
        seen += len(files) + len(folders)
        if seen > MOST:
            return result._replace(complete=False)
        waiting += [(*parts, name) for name in reversed(folders)]
        images = [name for name in files if name.lower().endswith(IMAGE_SUFFIXES)]
        if images:
            result.places.append(Place(parts, tuple(images)))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix not in IMAGE_SUFFIXES:
                result.others[suffix] += 1
                result.examples.setdefault(suffix, os.path.join(root, *parts, name))
        if not images and any(name.lower().endswith(".txt") for name in files):
            result.labels.append(parts)
    return result


def _names(folder: str) -> tuple[list[str], list[str]]:
    """Names of files and of folders, sorted."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_hidden(entry.name):
                    (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
    except OSError:
        return [], []
    return sorted(files), sorted(folders)
