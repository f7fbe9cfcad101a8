"""Which images a user means by files, folders and patterns, and by what an image is known again."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hgad_jax.data.tree import IMAGE_SUFFIXES
from hgad_jax.errors import UserError
from hgad_jax.inference.prediction_files import is_written


class InputImage(NamedTuple):
    """An image that is meant.

    Attributes:
      path: as the user spells it.
      file: the same file, whatever the current folder is and through whatever links its folder was reached.
    """

    path: str
    file: str


class Inputs(NamedTuple):
    """What the inputs hold.

    Attributes:
      images: each once, in the order of the inputs and by name within each.
      others: files in the folders that are no images by their names.
      written: files that earlier predictions wrote, which are left out.
    """

    images: list[InputImage]
    others: int
    written: int


class State(NamedTuple):
    """By what a changed image is noticed, as text."""

    size: str  # bytes
    modified: str  # UTC, to the nanosecond


def state_of(file: str) -> State:
    """Size and time of the last change of a file.

    Raises:
      OSError: it cannot be looked at.
    """
    status = os.stat(file)
    return State(str(status.st_size), f"{np.datetime64(status.st_mtime_ns, 'ns')}Z")


def list_images(inputs: Sequence[str]) -> Inputs:
    """The images that are meant.

    Args:
      inputs: files (of any suffix), folders (all images in them and below, hidden ones excepted; links are
        followed, and each folder is read once), or patterns with `*`, `?` and `**`; `~` is the home folder.

    Raises:
      UserError: an input that is not there, a folder that may not be read, a pattern that matches nothing, or
        no images at all.
    """
    images: dict[str, InputImage] = {}
    others = 0
    written: set[str] = set()
    place, ours = _places(), is_written()
    for given in map(os.path.expanduser, map(str, inputs)):
        for path, named in _files_of(given):
            file = place(path)
            if ours(file):
                written.add(file)
            elif named or _is_image(file):
                images.setdefault(file, InputImage(path, file))
            else:
                others += 1
    results = sum(map(_is_image, written))
    if not images:
        found = f" but {results} that predict.py wrote" if results else ""
        raise UserError(
            f"No images{found} in {', '.join(map(str, inputs))}; expected files ending in "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    return Inputs(list(images.values()), others, results)


def _is_image(file: str) -> bool:
    return file.lower().endswith(IMAGE_SUFFIXES)


def _places() -> Callable[[str], str]:
    """A function from a path to its `InputImage.file`; folders are looked up once."""
    known: dict[str, str] = {}

    def place(path: str) -> str:
        folder, name = os.path.split(path)
        if folder not in known:
            known[folder] = os.path.realpath(folder or os.curdir)
        return os.path.join(known[folder], name)

    return place


def _files_of(given: str) -> Iterator[tuple[str, bool]]:
    """Files of one input, and whether it names each itself instead of a folder above."""
    if os.path.exists(given):  # also where its name holds a character of patterns
        found = [given]
    elif glob.has_magic(given):
        found = sorted(glob.iglob(given, recursive=True))
        if not found:
            raise UserError(
                f"--input={given} matches no file. Check the pattern (** for folders of any depth)."
            )
    else:
        raise UserError(f"--input={given} does not exist. Check the path.")
    for path in found:
        if os.path.isdir(path):
            yield from ((below, False) for below in _files_in(path))
        else:
            yield path, True


def _files_in(path: str) -> Iterator[str]:
    visited = {os.path.realpath(path)}

    def is_new(folder: str) -> bool:
        place = os.path.realpath(folder)
        new = place not in visited
        visited.add(place)
        return new

    for folder, folders, files in os.walk(path, onerror=_refuse, followlinks=True):
        visible = [name for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [name for name in visible if is_new(os.path.join(folder, name))]
        yield from (os.path.join(folder, name) for name in sorted(files) if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise UserError(
        f"The folder '{error.filename}' cannot be read: {error.strerror}. Change its permissions, or give "
        "the other folders one by one."
    )
