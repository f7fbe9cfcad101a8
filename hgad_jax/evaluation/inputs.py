"""Which images a user means by files, folders and patterns."""

import glob
import os
from collections.abc import Iterator, Sequence

from hgad_jax.data.tree import IMAGE_SUFFIXES
from hgad_jax.errors import UserError


def list_images(inputs: Sequence[str], *, leave_out: str | os.PathLike = "") -> tuple[list[str], int]:
    """The images that are meant, each once, in the order of the inputs and by name within each.

    Args:
      inputs: files (of any suffix), folders (all images in them and below, hidden ones excepted; links are
        followed, and each folder is read once), or patterns with `*`, `?` and `**`.
      leave_out: a folder whose content is not meant: that of earlier predictions.

    Returns:
      Paths as the inputs spell them; and the number of files in folders that are no images by their suffix.

    Raises:
      UserError: an input that is not there, a folder that may not be read, a pattern that matches nothing, or
        no images at all.
    """
    left_out = os.path.realpath(leave_out) if leave_out else ""
    paths: dict[str, None] = {}
    seen: set[str] = set()
    ignored = 0
    for given in map(str, inputs):
        for image in _images_of(given, left_out):
            if not image:
                ignored += 1
            elif (place := os.path.abspath(image)) not in seen:
                seen.add(place)
                paths[image] = None
    if not paths:
        expected = ", ".join(IMAGE_SUFFIXES)
        raise UserError(f"No images in {', '.join(map(str, inputs))}; expected files ending in {expected}.")
    return list(paths), ignored


def _images_of(given: str, left_out: str) -> Iterator[str]:
    """Images of one input; "" for each file that is none by its suffix."""
    if os.path.exists(given):  # also where its name holds a character of patterns
        found = [given]
    elif glob.has_magic(given):
        found = [path for path in sorted(glob.iglob(given, recursive=True)) if not _below(path, left_out)]
        if not found:
            raise UserError(
                f"--input={given} matches no file. Check the pattern (** for folders of any depth)."
            )
    else:
        raise UserError(f"--input={given} does not exist. Check the path.")
    for path in found:
        if os.path.isdir(path):
            yield from _images_in(path, left_out)
        else:
            yield path


def _images_in(path: str, left_out: str) -> Iterator[str]:
    visited = {os.path.realpath(path)}

    def is_new(folder: str) -> bool:
        place = os.path.realpath(folder)
        new = place not in visited
        visited.add(place)
        return new

    for folder, folders, files in os.walk(path, onerror=_refuse, followlinks=True):
        wanted = [(name, os.path.join(folder, name)) for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [name for name, below in wanted if not _below(below, left_out) and is_new(below)]
        for name in sorted(files):
            if not name.startswith("."):
                is_image = name.lower().endswith(IMAGE_SUFFIXES)
                yield os.path.join(folder, name) if is_image else ""


def _refuse(error: OSError) -> None:
    raise UserError(
        f"The folder '{error.filename}' cannot be read: {error.strerror}. Change its permissions, or give "
        "the other folders one by one."
    )


def _below(path: str, folder: str) -> bool:
    return bool(folder) and f"{os.path.realpath(path)}{os.sep}".startswith(f"{folder}{os.sep}")
