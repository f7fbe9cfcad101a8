"""Folders in which images of several kinds lie together, and the commands that take them apart."""

import collections
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hgad_jax.data.layouts import shell
from hgad_jax.data.layouts.groups import Group, Parts
from hgad_jax.data.layouts.survey import Place, Survey
from hgad_jax.data.masks import is_black, is_two_valued, masks_among
from hgad_jax.data.names import Role, label, masked_stem, roles, stem

_LOOKED_AT = 3  # masks that are decoded to see whether they are masks


class Heap(NamedTuple):
    """A folder with more than one kind of files.

    Attributes:
        remark: for the user.
        commands: (where defective images go or "" if they stay, where masks go) → commands for a shell; None
            where no command takes the files apart.
        defective: images that are defective.
        masks: masks among the images.
        good: images that are good, as far as can be told.
    """

    remark: str
    commands: Callable[[str, str], list[str]] | None
    defective: int
    masks: int
    good: int


def heaps(found: Survey, groups: Iterable[Group]) -> dict[Parts, Heap]:
    """The folders of good or defective images in which more lies than that."""
    return {
        place.parts: mixed
        for group in groups
        if group.kind in (Role.GOOD, Role.BAD)
        for place in group.places
        if (mixed := _heap(found, place, labelled=not group.guessed))
    }


def _heap(found: Survey, place: Place, *, labelled: bool) -> Heap | None:
    """What lies together in a folder, of which it may be known that all images are good, or defective."""
    ways = (_masks_by_name, _masks_by_content) + (() if labelled else (_labels_in_names, _boxes))
    return next((result for way in ways if (result := way(found, place))), None)


def _masks_by_name(found: Survey, place: Place) -> Heap | None:
    folder = os.path.join(found.root, *place.parts)
    masks = masks_among(place.images)
    doubtful = sorted(set(masks_among(place.images, sure=False)) - set(masks))
    if doubtful and all(is_two_valued(os.path.join(folder, name)) for name in doubtful[:_LOOKED_AT]):
        masks += doubtful
    if not masks:
        return None
    tails = sorted({mask.removeprefix(masked_stem(stem(mask)) or "") for mask in masks})
    result = _with_masks(found, place, masks, tails, f"by their names, such as {masks[0]}")
    fit = _fitting(place, [f"*{tail}" for tail in tails]) == set(masks) and not set(tails) & set(masks)
    return result if fit else result._replace(commands=None)


def _masks_by_content(found: Survey, place: Place) -> Heap | None:
    """x.jpg and x.png, where all of one suffix have an image of another beside them and look like masks."""
    suffixes = collections.defaultdict(set)
    for name in place.images:
        suffixes[os.path.splitext(name)[1]].add(stem(name))
    for suffix, stems in suffixes.items():
        others = set().union(*(own for other, own in suffixes.items() if other != suffix))
        if not stems or stems - others:
            continue
        masks = sorted(f"{name}{suffix}" for name in stems)
        folder = os.path.join(found.root, *place.parts)
        if all(is_two_valued(os.path.join(folder, mask)) for mask in masks[:_LOOKED_AT]):
            why = f"of two values, beside images of the same names, such as {masks[0]}"
            return _with_masks(found, place, masks, [suffix], why)
    return None


def _with_masks(found: Survey, place: Place, masks: Sequence[str], tails: Sequence[str], why: str) -> Heap:
    folder = os.path.join(found.root, *place.parts)
    black = sum(is_black(os.path.join(folder, mask)) for mask in masks)
    of = {masked_stem(stem(mask)) or stem(mask) for mask in masks} | {stem(mask) for mask in masks}
    masked = sum(stem(name) in of for name in set(place.images) - set(masks))
    others = len(place.images) - len(masks) - masked
    remark = f"{len(masks)} of the {len(place.images)} files in '{folder}' are masks {why}."
    if 0 < black < len(masks):
        remark += f" {black} of them are all black, so that their images are good; the others' are defective."
        return Heap(remark, None, masked - black, len(masks), others + black)

    def commands(for_defective: str, for_masks: str) -> list[str]:
        lines = [shell.make(for_masks), shell.move_files(folder, [f"*{tail}" for tail in tails], for_masks)]
        if for_defective and not black:
            moved = [shell.move_images_of(for_masks, tail, folder, for_defective) for tail in tails]
            lines += [shell.make(for_defective), *moved]
        return lines

    if black:
        return Heap(f"{remark} All are black: the images are good.", commands, 0, len(masks), others + masked)
    remark += " Images with a mask are defective." + ("" if others else " None is without.")
    return Heap(remark, commands, masked, len(masks), others)


def _labels_in_names(found: Survey, place: Place) -> Heap | None:
    """OK_01.png and NG_01.png."""
    labels = {name: label(stem(name)) for name in place.images}
    bad = {name for name, found in labels.items() if found is Role.BAD}
    patterns = sorted({re.split(r"[\W\d_]", name, maxsplit=1)[0] + "*" for name in bad})
    if not bad or set(labels.values()) != {Role.GOOD, Role.BAD} or _fitting(place, patterns) != bad:
        return None
    folder = os.path.join(found.root, *place.parts)
    left = len(labels) - len(bad)
    remark = f"In '{folder}', {left} files are good and {len(bad)} defective by their names ({patterns[0]})."

    def commands(for_defective: str, _: str) -> list[str]:
        return [shell.make(for_defective), shell.move_files(folder, patterns, for_defective)]

    return Heap(remark, commands, len(bad), 0, left)


def _boxes(found: Survey, place: Place) -> Heap | None:
    """YOLO's labels: a text file for each image, in a folder beside that of the images."""
    folder = os.path.join(found.root, *place.parts)
    folders = [os.path.join(found.root, *parts) for parts in found.labels if _beside(place.parts, parts)]
    labels = folders[0] if len(folders) == 1 else folder
    texts = [os.path.join(labels, f"{stem(name)}.txt") for name in place.images]
    filled = [text for text in texts if os.path.isfile(text) and os.path.getsize(text)]
    if not filled or not _has_boxes(filled[0]):
        return None
    defective = len(filled)
    remark = (
        f"'{labels}' has text files such as YOLO's, whose boxes are not read: {defective} of the "
        f"{len(place.images)} images in '{folder}' have some and would be taken for defective, which is "
        "right if the boxes are round defects."
    )

    def commands(for_defective: str, _: str) -> list[str]:
        return [shell.make(for_defective), shell.move_labelled(folder, labels, for_defective)]

    return Heap(remark, commands, defective, 0, len(place.images) - defective)


def _has_boxes(text: str) -> bool:
    """Whether a file begins with a line as YOLO has it: a class and at least four coordinates."""
    try:
        with open(text, encoding="utf-8", errors="replace") as file:
            return re.fullmatch(r"\s*\d+(\s+[-+.\deE]+){4,}\s*", file.readline(1000)) is not None
    except OSError:
        return False


def _beside(images: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether one folder's path is the other's, but for "labels" in the place of "images"."""
    if len(images) != len(labels):
        return False
    different = [(a, b) for a, b in zip(images, labels, strict=True) if a != b]
    return len(different) == 1 and roles(different[0][1]) == (Role.MASK,)


def _fitting(place: Place, patterns: Sequence[str]) -> set[str]:
    return {name for name in place.images if any(fnmatch.fnmatchcase(name, p) for p in patterns)}
