"""A user's own images in MVTec AD's layout; one class or many, masks and test images optional.

    DIR/<class>/train/good/*                        images without defects
    DIR/<class>/test/good/*                         more of them
    DIR/<class>/test/<defect>/*                     images with a defect
    DIR/<class>/ground_truth/<defect>/<stem>_mask.png   non-zero where the defect is

Images in folders below these belong to them, too. DIR may also be the folder of one class itself. For other
layouts see `explicit` and `advice`.
"""

import os
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from absl import logging

from hgad_jax.data.layouts.advice import Advice, NoClass, advise, advise_rest
from hgad_jax.data.masks import Files, closest, mask_files, masks_among, match_masks
from hgad_jax.data.names import Role, composed, roles
from hgad_jax.data.problems import ERROR, NOTE, WARNING, Problem, listed, merged, raise_all
from hgad_jax.data.records import GOOD, Dataset, Record, build_dataset
from hgad_jax.data.tree import IMAGE_SUFFIXES, Tree, folders, images, new_tree
from hgad_jax.errors import UserError

EXPECTED_TREE = """Expected:
  DIR/<class>/train/good/*.png
  DIR/<class>/test/<good or a defect's name>/*.png                (optional)
  DIR/<class>/ground_truth/<defect>/<image's name>_mask.png       (optional)
or one class alone: DIR/train/good/*.png"""
_PARTS = ("train", "test", "ground_truth")
# What may not lie in a folder below these images.
APART_FROM_GOOD = (Role.BAD, Role.MASK, Role.DEPTH, Role.TEST)
APART_FROM_DEFECTIVE = (Role.MASK, Role.DEPTH, Role.TRAIN)
_ADVISED = 20  # lines of advice of each kind in an error


class Listing(NamedTuple):
    """What a folder holds, before anything is decoded.

    Attributes:
        root: the folder.
        name: of the dataset.
        good_folders: for each class, where its good training images are.
        records: the images without those that `problems` are about.
        problems: all that is wrong with names and places.
        ignored: files and folders that were passed over.
        advice: what to do with images that lie where none are read; None if there are none.
    """

    root: str
    name: str
    good_folders: dict[str, str]
    records: list[Record]
    problems: list[Problem]
    ignored: list[str]
    advice: Advice | None = None


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
    hint = (
        f"python -m hgad_jax.data check {check or shlex.quote(listing.root)} lists every file; "
        "--config.data.on_error=skip leaves these out."
    )
    if on_error == "raise":
        advice = listing.advice.lines(_ADVISED) if listing.advice else []
        raise_all(listing.problems, hint="\n".join([*advice, hint]))
    for problem in merged(listing.problems):
        if problem.level != NOTE:
            left_out = "Left out (config.data.on_error is skip): " if problem.level == ERROR else ""
            logging.warning("%s%s", left_out, problem.text())
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
    advice = _unread(tree, records)
    good_folders = {name: os.path.join(folder, "train", GOOD) for name, folder in found.items()}
    good_folders, records = without_empty_classes(tree, good_folders, records)
    name = os.path.basename(tree.root)
    return Listing(tree.root, name, good_folders, records, tree.problems, tree.ignored, advice)


def _unread(tree: Tree, records: list[Record]) -> Advice | None:
    """What to do with images that lie where none are read, which is a problem, too."""
    passed_over = (p for p in tree.ignored if p.lower().endswith(IMAGE_SUFFIXES) or os.path.isdir(p))
    if not tree.problems and next(passed_over, None) is None:
        return None
    read = {path for record in records for path in (record.path, *mask_files(record.mask))}
    told = {name for problem in tree.problems for name in problem.names}
    advice = advise_rest(tree.root, read, told)
    if advice and advice.misplaced:
        count = sum(advice.misplaced.values())
        summary = f"{count} images lie in folders that are not read"
        remedy = "Move them where they belong, or out of the way."
        tree.problems.append(Problem(summary, tuple(advice.misplaced), remedy, WARNING))
    return advice


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


def without_masks(tree: Tree, paths: list[str]) -> list[str]:
    """Images without those that are masks by their names, which are a problem."""
    masks = set(masks_among(paths))
    if masks:
        folder = os.path.dirname(min(masks))
        summary = f"{len(masks)} masks, by their names, lie among the images in '{folder}'"
        remedy = (
            "Move them to ground_truth/<defect>, or to a folder of their own for --config.data.mask_dir; an "
            "image with a mask shows a defect. If they are images, give them other names."
        )
        tree.problems.append(Problem(summary, tuple(sorted(masks)), remedy))
    return [path for path in paths if path not in masks]


def _classes(tree: Tree) -> dict[str, str]:
    """Find the folder of each class."""
    if os.path.isdir(os.path.join(tree.root, "train", GOOD)):
        return {composed(os.path.basename(tree.root)): tree.root}
    found = folders(tree, tree.root)
    classes: dict[str, str] = {}
    for name, folder in found.items():
        if not _is_class(name, folder):
            tree.ignored.append(folder)
        elif composed(name) in classes:
            summary = "Folders of classes whose names are the same but for their Unicode form"
            names = (classes[composed(name)], folder)
            tree.problems.append(Problem(summary, names, "Give one of them another name."))
        else:
            classes[composed(name)] = folder
    if not classes and not tree.problems:
        only = f"the folders {listed(found)}" if found else "no folder"
        first = f"'{tree.root}': no class found, {'only ' if found else ''}{only} in it."
        raise NoClass(first, advise(tree.root), EXPECTED_TREE)
    return classes


def _is_class(name: str, folder: str) -> bool:
    if os.path.isdir(os.path.join(folder, "train", GOOD)):
        return True
    # "images" and "labels", with a folder "train" in each, are no classes.
    return not roles(name) and any(os.path.isdir(os.path.join(folder, part)) for part in ("train", "test"))


def _class_records(tree: Tree, class_name: str, folder: str) -> list[Record]:
    """List one class: its good training images, then its test images defect by defect."""
    parts = folders(tree, folder)
    tree.ignored.extend(path for name, path in parts.items() if name not in _PARTS)
    train = folders(tree, parts.get("train", ""))
    tree.ignored.extend(path for name, path in train.items() if name != GOOD)
    good = without_masks(tree, images(tree, train.get(GOOD, ""), apart=APART_FROM_GOOD))
    records = [Record(path, class_name, "train", GOOD) for path in good]
    tests = {name: Files(path, _test_images(tree, path)) for name, path in _defects(tree, parts).items()}
    truth = parts.get("ground_truth", "")
    masks, refused = match_masks(tree, truth, tests, _available(tree, truth, tests))
    return records + [
        Record(path, class_name, "test", composed(defect), masks.get(path))
        for defect, files in tests.items()
        for path in files.paths
        if path not in refused
    ]


def _available(tree: Tree, truth: str, tests: Mapping[str, Files]) -> dict[str, Files]:
    """Masks by the name of the folder of images that they are of, else by their own folder's."""
    found = folders(tree, truth)
    found.pop(GOOD, None)  # the masks of good images, where they exist, are all black
    left = [name for name in tests if name not in found]
    available = {}
    for name, folder in found.items():
        meant = name if name in tests else closest(name, left)
        if meant in left:
            left.remove(meant)
        available[meant or name] = Files(folder, images(tree, folder))
    return available


def _test_images(tree: Tree, folder: str) -> list[str]:
    good = os.path.basename(folder) == GOOD
    apart = APART_FROM_GOOD if good else (*APART_FROM_DEFECTIVE, Role.GOOD)
    return without_masks(tree, images(tree, folder, apart=apart))


def _defects(tree: Tree, parts: dict[str, str]) -> dict[str, str]:
    """The folders in `test` by name, without those that would be taken for the contrary of what they are."""
    found = folders(tree, parts.get("test", ""))
    numbers = {"0": (Role.GOOD,), "1": (Role.BAD,)} if set(found) == {"0", "1"} else {}
    for name in list(found):
        meant = numbers.get(name) or roles(name)
        if name != GOOD and set(meant) & {Role.GOOD, Role.MASK, Role.DEPTH}:
            what = " and ".join(role.value for role in meant)
            summary = f"Folders of {what}, by their names, would count as defects in test"
            remedy = f"Good images belong into test/{GOOD}, masks into ground_truth/<defect>."
            tree.problems.append(Problem(summary, (found.pop(name),), remedy))
    return found
