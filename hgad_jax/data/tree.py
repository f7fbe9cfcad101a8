"""Walks a folder of the user's: sorted, without hidden files, symbolic links kept inside the root."""

import os
from collections.abc import Collection, Iterator
from typing import NamedTuple

from hgad_jax.data.names import Role, is_hidden, roles, stem
from hgad_jax.data.problems import Problem
from hgad_jax.data.signatures import SUFFIXES, image_format
from hgad_jax.errors import UserError
from hgad_jax.files import expanded

__all__ = ["IMAGE_SUFFIXES", "Tree", "folders", "images", "new_tree", "stem"]

IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


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
        if _kind(tree, entry) == "folder":
            found[entry.name] = entry.path
        else:
            tree.ignored.append(entry.path)
    return found


def images(tree: Tree, folder: str, *, apart: Collection[Role] = ()) -> list[str]:
    """List the images in `folder` and in the folders below it.

    What else is there is ignored with a note; what is an image by its content alone is a problem.

    Args:
        tree: it belongs to.
        folder: to look in; need not exist.
        apart: what may not lie among these images; a folder below with such a name is a problem.
    """
    found: list[str] = []
    # Without recursion: folders may be nested deeper than functions may.
    above = [(os.path.realpath(folder), _entries(tree, folder))]
    while above:
        entry = next(above[-1][1], None)
        if entry is None:
            above.pop()
        elif (kind := _kind(tree, entry)) == "folder":
            place = os.path.realpath(entry.path)
            if place in (path for path, _ in above):  # by links that lead round in a circle
                tree.problems.append(_circle(entry.path))
            elif set(roles(entry.name)) & set(apart):
                tree.problems.append(_misplaced(entry))
            else:
                above.append((place, _entries(tree, entry.path)))
        elif kind == "file" and entry.name.lower().endswith(IMAGE_SUFFIXES):
            found.append(entry.path)
        elif kind == "file" and (content := image_format(entry.path)):  # a pipe would block
            tree.problems.append(_unread(entry.path, content))
        else:
            tree.ignored.append(entry.path)
    return found


def _entries(tree: Tree, folder: str) -> Iterator[os.DirEntry]:
    """Yield what is in `folder`, by name, but hidden files; nothing if there is no such folder."""
    if not os.path.isdir(folder):
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"'{folder}' may not be read: {error.strerror}. Change its permissions, or see whether the disk "
            "is still there."
        ) from error
    for entry in entries:
        if not is_hidden(entry.name) and _link_allowed(tree, entry):
            yield entry


def _kind(tree: Tree, entry: os.DirEntry) -> str:
    """Say "folder", "file", or "" for anything else and for what cannot be looked at."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError as error:
        summary = f"Files that may not be looked at ({error.strerror})"
        remedy = "Change their permissions, see whether the disk is still there, or take them away."
        tree.problems.append(Problem(summary, (entry.path,), remedy))
        return ""


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


def _misplaced(entry: os.DirEntry) -> Problem:
    what = " and ".join(role.value for role in roles(entry.name))
    place = os.path.dirname(entry.path)
    summary = f"A folder of {what}, by its name, lies among other images in '{place}'"
    return Problem(summary, (entry.path,), "Move it where it belongs, or give it another name.")


def _unread(path: str, kind: str) -> Problem:
    suffix = os.path.splitext(path)[1] or "none"
    summary = f"Images that are not read because of their suffix ({suffix}): they are {kind} files"
    remedy = f"Save them as png, or take them away. Read are {', '.join(IMAGE_SUFFIXES)}."
    return Problem(summary, (path,), remedy)
