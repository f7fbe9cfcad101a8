"""A user's own images in MVTec AD's layout; one class or many, masks and test images optional.

    DIR/<class>/train/good/*                        images without defects
    DIR/<class>/test/good/*                         more of them
    DIR/<class>/test/<defect>/*                     images with a defect
    DIR/<class>/ground_truth/<defect>/<stem>_mask.png   non-zero where the defect is

DIR may also be the folder of one class itself. For other layouts see `explicit`.
"""

import collections
import os
import shlex
from typing import Any, NamedTuple

from absl import logging

from hgad_jax.data.problems import Problem, listed, merged, raise_all
from hgad_jax.data.records import GOOD, Dataset, Record, build_dataset
from hgad_jax.data.tree import Tree, folders, images, new_tree, stem
from hgad_jax.errors import UserError

EXPECTED_TREE = """Expected:
  DIR/<class>/train/good/*.png
  DIR/<class>/test/<good or a defect's name>/*.png                (optional)
  DIR/<class>/ground_truth/<defect>/<image's name>_mask.png       (optional)
or one class alone: DIR/train/good/*.png"""
_PARTS = ("train", "test", "ground_truth")


class Listing(NamedTuple):
    """What a folder holds, before anything is decoded.

    Attributes:
        root: the folder.
        name: of the dataset.
        good_folders: for each class, where its good training images are.
        records: the images without those that `problems` are about.
        problems: all that is wrong with names and places.
        ignored: files and folders that were passed over.
    """

    root: str
    name: str
    good_folders: dict[str, str]
    records: list[Record]
    problems: list[Problem]
    ignored: list[str]


def load(root: str, *, follow_links: bool = False, on_error: str = "raise") -> Dataset:
    """List the images under `root`, in sorted order; decodes none.

    Args:
        root: the folder DIR of the layout above.
        follow_links: whether symbolic links may lead out of `root`.
        on_error: "raise", or "skip" to leave out what is wrong, with a warning.

    Raises:
        UserError: no such folder, another layout; unless skipped: a class without good training images,
            masks that do not match the images, a symbolic link out of `root`.
    """
    return to_dataset(scan(root, follow_links=follow_links), on_error=on_error)


def to_dataset(listing: Listing, *, on_error: str, check: str = "") -> Dataset:
    """Make a dataset of what was found, or say what is wrong with it.

    Args:
        listing: what was found.
        on_error: "raise", or "skip" to leave out what is wrong, with a warning.
        check: arguments by which `python -m hgad_jax.data check` finds the same; the root if not given.

    Raises:
        UserError: there are problems and `on_error` is "raise", or nothing is left.
    """
    if listing.ignored:
        logging.warning(
            "%s: ignored %d files or folders that are no images or not where images belong, e.g. %s",
            *(listing.root, len(listing.ignored), listed(listing.ignored)),
        )
    if on_error == "raise":
        raise_all(
            listing.problems,
            hint=f"python -m hgad_jax.data check {check or shlex.quote(listing.root)} lists every file; "
            "--config.data.on_error=skip leaves these out.",
        )
    for problem in merged(listing.problems):
        logging.warning("Left out (config.data.on_error is skip): %s", problem.text())
    if not listing.good_folders:
        raise UserError(f"'{listing.root}': nothing is left to train on.\n{EXPECTED_TREE}")
    return build_dataset(listing.name, listing.records, good_folders=listing.good_folders)


def scan(root: str, *, follow_links: bool = False) -> Listing:
    """List the images under `root` and whatever is wrong with them.

    Raises:
        UserError: no such folder, or no class in it.
    """
    tree = new_tree(root, follow_links=follow_links)
    refuse_no_folder(tree.root, "--config.data.root")
    found = _classes(tree)
    records = [record for name, folder in found.items() for record in _class_records(tree, name, folder)]
    good_folders = {name: os.path.join(folder, "train", GOOD) for name, folder in found.items()}
    good_folders, records = without_empty_classes(tree, good_folders, records)
    return Listing(tree.root, os.path.basename(tree.root), good_folders, records, tree.problems, tree.ignored)


def refuse_no_folder(path: str, key: str) -> None:
    """Raise a `UserError` unless there is such a folder."""
    if not os.path.isdir(path):
        found = "is not a folder" if os.path.exists(path) else "does not exist"
        raise UserError(f"'{path}' {found}; {key} must be a folder of images.\n{EXPECTED_TREE}")


def without_empty_classes(
    tree: Tree, good_folders: dict[str, str], records: list[Record]
) -> tuple[dict[str, str], list[Record]]:
    """Take away the classes that have nothing to train on, each a problem."""
    trainable = {record.class_name for record in records if record.split == "train"}
    for name, folder in good_folders.items():
        if name not in trainable:
            summary = f"class '{name}' has no good training images: none found in"
            remedy = "Put images without defects there, or take the class's folder away."
            tree.problems.append(Problem(summary, (folder,), remedy))
    kept = {name: folder for name, folder in good_folders.items() if name in trainable}
    return kept, [record for record in records if record.class_name in kept]


def _classes(tree: Tree) -> dict[str, str]:
    """Find the folder of each class."""
    if os.path.isdir(os.path.join(tree.root, "train", GOOD)):
        return {os.path.basename(tree.root): tree.root}
    found = folders(tree, tree.root)
    classes = {
        name: folder
        for name, folder in found.items()
        if any(os.path.isdir(os.path.join(folder, split)) for split in ("train", "test"))
    }
    if not classes and not tree.problems:
        only = f"the folders {listed(found)}" if found else "no folders"
        raise UserError(f"'{tree.root}': no class found, only {only} in it.\n{EXPECTED_TREE}")
    tree.ignored.extend(folder for name, folder in found.items() if name not in classes)
    return classes


def _class_records(tree: Tree, class_name: str, folder: str) -> list[Record]:
    """List one class: its good training images, then its test images defect by defect."""
    parts = folders(tree, folder)
    tree.ignored.extend(path for name, path in parts.items() if name not in _PARTS)
    train = folders(tree, parts.get("train", ""))
    tree.ignored.extend(path for name, path in train.items() if name != GOOD)
    records = [Record(path, class_name, "train", GOOD) for path in images(tree, train.get(GOOD, ""))]
    tests = {defect: images(tree, path) for defect, path in folders(tree, parts.get("test", "")).items()}
    truth = parts.get("ground_truth", "")
    available = {
        defect: images(tree, path) for defect, path in folders(tree, truth).items() if defect != GOOD
    }  # the masks of good images, where they exist, are all black
    masks, refused = match_masks(tree, truth, tests, available)
    return records + [
        Record(path, class_name, "test", defect, masks.get(path))
        for defect, paths in tests.items()
        for path in paths
        if path not in refused
    ]


def match_masks(
    tree: Tree, folder: str, tests: dict[Any, list[str]], available: dict[Any, list[str]]
) -> tuple[dict[str, str], set[str]]:
    """Match masks to defective test images by name: `<stem>_mask` or `<stem>`.

    Args:
        tree: gets a problem for masks without an image, two masks for one image or two images for one mask,
            and defective images without a mask in a class that has masks.
        folder: of the masks, for messages.
        tests: images by defect, or by whatever tells apart folders with the same names.
        available: masks by the same.

    Returns:
        Image → mask, and the images that have to be left out.
    """
    masks: dict[str, str] = {}
    unused, double, shared = [], set(), set()
    for defect, paths in available.items():
        by_stem: dict[str, list[str]] = {}
        for path in paths:
            by_stem.setdefault(stem(path), []).append(path)
        for image in tests.get(defect, ()):
            name = f"{stem(image)}_mask" if f"{stem(image)}_mask" in by_stem else stem(image)
            if name in by_stem:
                masks[image] = by_stem[name][0]
                if len(by_stem[name]) > 1:
                    double.add(image)
        matched = {stem(masks[image]) for image in tests.get(defect, ()) if image in masks}
        unused += [path for path in paths if stem(path) not in matched]
        uses = collections.Counter(masks[image] for image in tests.get(defect, ()) if image in masks)
        shared |= {image for image in tests.get(defect, ()) if uses[masks.get(image)] > 1}
    bare = [i for defect, paths in tests.items() if defect != GOOD for i in paths if i not in masks]
    if masks or unused:
        _report(tree, folder, masks, unused, double, shared, bare)
    refused = double | shared | (set(bare) if masks else set())
    return {image: mask for image, mask in masks.items() if image not in refused}, refused


def _report(
    tree: Tree, folder: str, masks, unused: list[str], double: set[str], shared: set[str], bare
) -> None:
    if unused:
        summary = f"'{folder}': {len(unused)} masks without an image of the same name in test/<defect>"
        remedy = (
            "A mask is named <image's name>_mask.png or as the image, in ground_truth/<the image's defect>. "
            "Rename these masks or take them away."
        )
        tree.problems.append(Problem(summary, tuple(unused), remedy))
    if double:
        summary = f"'{folder}': {len(double)} images have two masks"
        tree.problems.append(Problem(summary, tuple(sorted(double)), "Take one of the two masks away."))
    if shared:
        summary = f"'{folder}': {len(shared)} images differ in their suffix only, so that they have one mask"
        remedy = "Rename the image that the mask is not of, and give it its own."
        tree.problems.append(Problem(summary, tuple(sorted(shared)), remedy))
    if masks and bare:
        summary = f"'{folder}': {len(masks)} defective images have a mask but {len(bare)} have none"
        remedy = (
            "A class has a mask for every defective image or for none: add the missing "
            "<image's name>_mask.png, or take the class's ground_truth away."
        )
        tree.problems.append(Problem(summary, tuple(bare), remedy))
