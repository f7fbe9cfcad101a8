"""Walks a folder of the user's: sorted, without hidden files, symbolic links kept inside the root."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from hgad_jax.data.problems import Problem
from hgad_jax.errors import UserError
from hgad_jax.files import expanded

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


class Tree(NamedTuple):
    """The folder being read.

    Attributes:
        root: that symbolic links may not leave.
        follow_links: unless this is true.
        ignored: gets what was passed over.
        problems: gets what is wrong.
    """

    root: str
    follow_links: bool
    ignored: list[str]
    problems: list[Problem]


def new_tree(root: str, *, follow_links: bool) -> Tree:
    """A tree of which nothing has been read yet; `root` is made absolute."""
    return Tree(str(expanded(root)), follow_links, [], [])


def folders(tree: Tree, folder: str) -> dict[str, str]:
    """Map the names of the folders in `folder` to their paths; files there are ignored with a note."""
    found = {}
    for entry in _entries(tree, folder):
        if entry.is_dir():
            found[entry.name] = entry.path
        else:
            tree.ignored.append(entry.path)
    return found


def images(tree: Tree, folder: str, *, recursive: bool = False, above: tuple[str, ...] = ()) -> list[str]:
    """List the images in `folder`; what else is there is ignored with a note.

    Args:
        tree: it belongs to.
        folder: to look in; need not exist.
        recursive: whether to look in folders below, too.
        above: the folders on the way there, as they are without links.
    """
    found, above = [], (*above, os.path.realpath(folder))
    for entry in _entries(tree, folder):
        if recursive and entry.is_dir():
            if os.path.realpath(entry.path) in above:  # by links that lead round in a circle
                tree.problems.append(_circle(entry.path))
            else:
                found += images(tree, entry.path, recursive=True, above=above)
        elif entry.is_file() and entry.name.lower().endswith(IMAGE_SUFFIXES):
            found.append(entry.path)
        else:
            tree.ignored.append(entry.path)
    return found


def stem(path: str) -> str:
    """A file's name without folder and suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def _entries(tree: Tree, folder: str) -> Iterator[os.DirEntry]:
    """Yield what is in `folder`, by name, but hidden files; nothing if there is no such folder."""
    if not os.path.isdir(folder):
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except PermissionError as error:
        raise UserError(f"'{folder}' may not be read: {error.strerror}. Change its permissions.") from error
    for entry in entries:
        if not entry.name.startswith(".") and _link_allowed(tree, entry):
            yield entry


def _link_allowed(tree: Tree, entry: os.DirEntry) -> bool:
    if not entry.is_symlink():
        return True
    target, root = os.path.realpath(entry.path), os.path.realpath(tree.root)
    if not os.path.exists(target):
        summary, remedy = "A symbolic link leads to something which does not exist", "Remove it."
    elif os.path.isdir(target) and _lies_in(os.path.realpath(os.path.dirname(entry.path)), target):
        tree.problems.append(_circle(entry.path))
        return False
    elif tree.follow_links or _lies_in(target, root):
        return True
    else:
        summary = f"A symbolic link leads out of '{tree.root}'"
        remedy = "Copy the files, or allow links with --config.data.follow_links=True."
    tree.problems.append(Problem(summary, (f"{entry.path}' -> '{target}",), remedy))
    return False


def _lies_in(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder


def _circle(link: str) -> Problem:
    summary = "A symbolic link leads to a folder that it lies in"
    return Problem(summary, (f"{link}' -> '{os.path.realpath(link)}",), "Remove it.")
