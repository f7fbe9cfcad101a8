"""A user's own images in MVTec AD's layout; one class or many, masks and test images optional.

    DIR/<class>/train/good/*                        images without defects
    DIR/<class>/test/good/*                         more of them
    DIR/<class>/test/<defect>/*                     images with a defect
    DIR/<class>/ground_truth/<defect>/<stem>_mask.png   non-zero where the defect is

DIR may also be the folder of one class itself.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from absl import logging

from hgad_jax.data.records import GOOD, Dataset, Record, build_dataset
from hgad_jax.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
EXPECTED_TREE = """Expected:
  DIR/<class>/train/good/*.png
  DIR/<class>/test/<good or a defect's name>/*.png                (optional)
  DIR/<class>/ground_truth/<defect>/<image's name>_mask.png       (optional)
or one class alone: DIR/train/good/*.png"""
_PARTS = ("train", "test", "ground_truth")
_SHOWN = 5  # names in a message


class _Tree(NamedTuple):
    """The folder being read and what was passed over in it."""

    root: str
    follow_links: bool
    ignored: list[str]


def load(root: str, *, follow_links: bool = False) -> Dataset:
    """List the images under `root`, in sorted order; decodes none.

    Args:
        root: the folder DIR of the layout above.
        follow_links: whether symbolic links may lead out of `root`.

    Raises:
        UserError: no such folder, another layout, a class without good training images, masks that
            do not match the images, a symbolic link out of `root`.
    """
    tree = _Tree(os.path.abspath(os.path.expanduser(root)), follow_links, [])
    if not os.path.isdir(tree.root):
        found = "is not a folder" if os.path.exists(tree.root) else "does not exist"
        raise UserError(
            f"'{tree.root}' {found}; --config.data.root must be a folder of images.\n{EXPECTED_TREE}"
        )
    classes = _classes(tree)
    records = [record for name, folder in classes.items() for record in _class_records(tree, name, folder)]
    if tree.ignored:
        logging.warning(
            "%s: ignored %d files or folders that are no images or not where images belong, e.g. %s",
            *(tree.root, len(tree.ignored), _list(tree.ignored)),
        )
    good_folders = {name: os.path.join(folder, "train", GOOD) for name, folder in classes.items()}
    return build_dataset(os.path.basename(tree.root), records, good_folders=good_folders)


def _classes(tree: _Tree) -> dict[str, str]:
    """Find the folder of each class."""
    if os.path.isdir(os.path.join(tree.root, "train", GOOD)):
        return {os.path.basename(tree.root): tree.root}
    folders = _folders(tree, tree.root)
    classes = {
        name: folder
        for name, folder in folders.items()
        if any(os.path.isdir(os.path.join(folder, split)) for split in ("train", "test"))
    }
    if not classes:
        found = f"the folders {_list(folders)}" if folders else "no folders"
        raise UserError(f"'{tree.root}': no class found, only {found} in it.\n{EXPECTED_TREE}")
    tree.ignored.extend(folder for name, folder in folders.items() if name not in classes)
    return classes


def _class_records(tree: _Tree, class_name: str, folder: str) -> list[Record]:
    """List one class: its good training images, then its test images defect by defect."""
    parts = _folders(tree, folder)
    tree.ignored.extend(path for name, path in parts.items() if name not in _PARTS)
    train = _folders(tree, parts.get("train", ""))
    tree.ignored.extend(path for name, path in train.items() if name != GOOD)
    records = [Record(path, class_name, "train", GOOD) for path in _images(tree, train.get(GOOD, ""))]
    defects = _folders(tree, parts.get("test", ""))
    tests = {defect: _images(tree, path) for defect, path in defects.items()}
    masks = _match_masks(tree, parts.get("ground_truth", ""), tests)
    return records + [
        Record(path, class_name, "test", defect, masks.get(path))
        for defect, paths in tests.items()
        for path in paths
    ]


def _match_masks(tree: _Tree, folder: str, tests: dict[str, list[str]]) -> dict[str, str]:
    """Map each defective test image to its mask: all of a class, or none (an empty result).

    Raises:
        UserError: some defective images have a mask and others none, or a mask has no image.
    """
    masks, unused = {}, []
    for defect, truth in _folders(tree, folder).items():
        if defect == GOOD:  # all black where it exists
            continue
        available = _masks_by_stem(tree, truth)
        for path in tests.get(defect, ()):
            stem = _stem(path)
            name = f"{stem}_mask" if f"{stem}_mask" in available else stem
            if name in available:
                masks[path] = available[name]
        unused.extend(sorted(set(available.values()).difference(masks.values())))
    _refuse_unmatched(folder, masks, unused, tests)
    return masks


def _refuse_unmatched(
    folder: str, masks: dict[str, str], unused: list[str], tests: dict[str, list[str]]
) -> None:
    if unused:
        raise UserError(
            f"'{folder}': {len(unused)} masks without an image of the same name in test/<defect>: "
            f"{_list(unused)}. A mask is named <image's name>_mask.png or as the image, in "
            "ground_truth/<the image's defect>. Rename these masks or take them away."
        )
    defective = [path for defect, paths in tests.items() if defect != GOOD for path in paths]
    bare = [path for path in defective if path not in masks]
    if masks and bare:
        raise UserError(
            f"'{folder}': {len(masks)} defective images have a mask but {len(bare)} have none: "
            f"{_list(bare)}. A class has a mask for every defective image or for none: add the missing "
            "<image's name>_mask.png, or take the class's ground_truth away."
        )


def _masks_by_stem(tree: _Tree, folder: str) -> dict[str, str]:
    masks: dict[str, str] = {}
    for path in _images(tree, folder):
        other = masks.setdefault(_stem(path), path)
        if other != path:
            raise UserError(f"'{other}' and '{path}' are two masks for one image. Take one of them away.")
    return masks


def _folders(tree: _Tree, folder: str) -> dict[str, str]:
    """Map the names of the folders in `folder` to their paths; files there are ignored with a note."""
    folders = {}
    for entry in _entries(tree, folder):
        if entry.is_dir():
            folders[entry.name] = entry.path
        else:
            tree.ignored.append(entry.path)
    return folders


def _images(tree: _Tree, folder: str) -> list[str]:
    """List the images in `folder`, not in folders below; what else is there is ignored with a note."""
    images = []
    for entry in _entries(tree, folder):
        is_image = entry.is_file() and entry.name.lower().endswith(IMAGE_SUFFIXES)
        (images if is_image else tree.ignored).append(entry.path)
    return images


def _entries(tree: _Tree, folder: str) -> Iterator[os.DirEntry]:
    """Yield what is in `folder`, by name, but hidden files; nothing if there is no such folder."""
    if not os.path.isdir(folder):
        return
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except PermissionError as error:
        raise UserError(f"'{folder}' may not be read: {error.strerror}. Change its permissions.") from error
    for entry in entries:
        if not entry.name.startswith("."):
            _check_link(tree, entry)
            yield entry


def _check_link(tree: _Tree, entry: os.DirEntry) -> None:
    if not entry.is_symlink():
        return
    target = os.path.realpath(entry.path)
    if not os.path.exists(target):
        raise UserError(f"'{entry.path}' is a symbolic link to '{target}', which does not exist. Remove it.")
    root = os.path.realpath(tree.root)
    if not tree.follow_links and os.path.commonpath((root, target)) != root:
        raise UserError(
            f"'{entry.path}' is a symbolic link to '{target}', outside of '{tree.root}'. Copy the files, or "
            "allow links with --config.data.follow_links=True."
        )


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:_SHOWN]) + more
