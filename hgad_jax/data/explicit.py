"""One class from folders named one by one, as anomalib's `Folder` takes them.

    normal_dir        images without defects, to train on
    normal_test_dir   more of them, to test with (optional)
    abnormal_dir      images with a defect, to test with (optional); the folder's name is the defect's
    mask_dir          their masks (optional), <image's name>_mask.png or <image's name>.png

Each is a folder or several; images in folders below are found, too.
"""

import os
from collections.abc import Sequence

from hgad_jax.data.folder import (
    APART_FROM_DEFECTIVE,
    APART_FROM_GOOD,
    Listing,
    refuse_no_folder,
    without_empty_classes,
    without_masks,
)
from hgad_jax.data.masks import Files, match_masks
from hgad_jax.data.names import composed
from hgad_jax.data.records import GOOD, Record
from hgad_jax.data.tree import Tree, images, new_tree
from hgad_jax.errors import UserError

KEYS = ("normal_dir", "abnormal_dir", "mask_dir", "normal_test_dir")
_ABNORMAL = "abnormal"


def scan(
    root: str,
    *,
    normal_dir: Sequence[str],
    abnormal_dir: Sequence[str] = (),
    mask_dir: Sequence[str] = (),
    normal_test_dir: Sequence[str] = (),
    follow_links: bool = False,
) -> Listing:
    """List the images of the folders given, in sorted order, and whatever is wrong with them; decodes none.

    Args:
        root: that the folders lie in, or "" where they are absolute or relative to the current folder.
        normal_dir: folders; several may be given as one string with commas, too.
        abnormal_dir: folders.
        mask_dir: as many folders as abnormal_dir, in the same order, or none.
        normal_test_dir: folders.
        follow_links: whether symbolic links may lead out of the folder that they are found in.

    Raises:
        UserError: a folder is missing, or they do not go together.
    """
    given = dict(zip(KEYS, (normal_dir, abnormal_dir, mask_dir, normal_test_dir), strict=True))
    paths = {key: absolute(dirs, root) for key, dirs in given.items()}
    _refuse(paths)
    tree = new_tree(root or paths["normal_dir"][0], follow_links=follow_links)
    found = {key: [_files(tree, key, path) for path in dirs] for key, dirs in paths.items()}
    name = composed(os.path.basename(tree.root))
    abnormal = dict(enumerate(found["abnormal_dir"]))
    truth = dict(enumerate(found["mask_dir"]))
    masks, refused = match_masks(tree, ", ".join(paths["mask_dir"]), abnormal, truth)
    records = [Record(path, name, "train", GOOD) for path in _flat(found["normal_dir"])]
    records += [Record(path, name, "test", GOOD) for path in _flat(found["normal_test_dir"])]
    records += [
        Record(path, name, "test", _defect(files, path), masks.get(path))
        for files in found["abnormal_dir"]
        for path in files.paths
        if path not in refused
    ]
    good_folders, records = without_empty_classes(tree, {name: ", ".join(paths["normal_dir"])}, records)
    return Listing(tree.root, name, good_folders, records, tree.problems, tree.ignored)


def absolute(dirs: Sequence[str], root: str) -> tuple[str, ...]:
    """Absolute paths of folders, which are relative to `root` or, without one, to the current folder."""
    base = os.path.expanduser(root) if root else ""

    def full(path: str) -> str:
        return os.path.abspath(os.path.join(base, os.path.expanduser(path)))

    # A flag cannot tell 'a,b' from one folder of that name; what exists is meant.
    parts = [[path] if os.path.exists(full(path)) else path.split(",") for path in dirs]
    return tuple(full(part) for group in parts for part in group)


def _refuse(paths: dict[str, tuple[str, ...]]) -> None:
    """Refuse folders that are missing, are given twice, or lie in one another."""
    if not paths["normal_dir"]:
        raise UserError(
            "config.data.abnormal_dir, mask_dir and normal_test_dir need config.data.normal_dir: images "
            "without defects to train on."
        )
    masks, abnormal = len(paths["mask_dir"]), len(paths["abnormal_dir"])
    if masks not in (0, abnormal):
        raise UserError(
            f"config.data.mask_dir names {masks} folders and abnormal_dir {abnormal}; expected as many, in "
            "the same order, or no mask_dir."
        )
    flat = [(key, path) for key, dirs in paths.items() for path in dirs]
    for key, path in flat:
        refuse_no_folder(path, f"config.data.{key}")
    for number, (key, path) in enumerate(flat):
        for other_key, other in flat[number + 1 :]:
            if os.path.commonpath((path, other)) in (path, other):
                raise UserError(
                    f"config.data.{key} '{path}' and config.data.{other_key} '{other}' share files; "
                    "each image belongs to one of them. Give folders that do not lie in each other."
                )


def _files(tree: Tree, key: str, folder: str) -> Files:
    """Images, or masks, in a folder and below it."""
    # Links are judged by the folder given: without a root, the folders have nothing in common.
    own = tree._replace(root=folder if os.path.commonpath((tree.root, folder)) != tree.root else tree.root)
    if key == "mask_dir":
        return Files(folder, images(own, folder))
    apart = APART_FROM_DEFECTIVE if key == "abnormal_dir" else APART_FROM_GOOD
    return Files(folder, without_masks(own, images(own, folder, apart=apart)))


def _flat(found: Sequence[Files]) -> list[str]:
    return [path for files in found for path in files.paths]


def _defect(files: Files, path: str) -> str:
    name = files.below(path).split(os.sep)[0] or os.path.basename(files.folder)
    return composed(name) if name != GOOD else _ABNORMAL
