"""Which mask belongs to which image, by their names, and which "images" are masks that lie among them."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hgad_jax.data.decode import decode
from hgad_jax.data.names import composed, folded, masked_stem, stem
from hgad_jax.data.problems import Problem
from hgad_jax.data.records import GOOD, MaskFile, Pieces
from hgad_jax.data.transforms import load_whole_mask
from hgad_jax.data.tree import Tree
from hgad_jax.errors import UserError

# From the strictest on: what differs in the Unicode form alone, and what differs in capitals or blanks too.
_FORMS: tuple[Callable[[str], str], ...] = (str, composed, folded)


class Files(NamedTuple):
    """Images or masks of one kind: a folder and the files in it and below it."""

    folder: str
    paths: Sequence[str]

    def below(self, path: str) -> str:
        """The way from the folder to a file's own folder; "" for what lies in it directly."""
        way = os.path.relpath(os.path.dirname(path), self.folder)
        return "" if way == os.curdir else way


class Matched(NamedTuple):
    """What `match_masks` found."""

    masks: dict[str, MaskFile]  # by image
    refused: set[str]  # images that have to be left out


def closest(name: str, among: Iterable[str]) -> str | None:
    """The one of some names that is meant by a name, whatever its Unicode form, capitals and blanks."""
    among = list(among)
    for form in _FORMS:
        found = [other for other in among if form(other) == form(name)]
        if len(found) == 1:
            return found[0]
    return None


def match_masks(
    tree: Tree, folder: str, tests: Mapping[Any, Files], available: Mapping[Any, Files]
) -> Matched:
    """Match masks to defective test images by name: `<stem>_mask`, `<stem>`, or a folder `<stem>` of several.

    Args:
        tree: gets a problem for masks without an image, two masks for one image or two images for one mask,
            and defective images without a mask in a class that has masks.
        folder: of the masks, for messages.
        tests: images by defect, or by whatever tells apart folders with the same names.
        available: masks by the same.
    """
    masks: dict[str, MaskFile] = {}
    unused, double, shared = [], set(), set()
    for defect, files in available.items():
        found = _by_name(tests.get(defect, Files("", ())), files)
        masks |= {image: own[0] for image, own in found.items()}
        double |= {image for image, own in found.items() if len(own) > 1}
        uses = collections.Counter(own[0] for own in found.values())
        shared |= {image for image, own in found.items() if uses[own[0]] > 1}
        used = _used(found)
        unused += [path for path in files.paths if path not in used]
    bare = [i for defect, images in tests.items() if defect != GOOD for i in images.paths if i not in masks]
    if masks or unused:
        tree.problems.extend(_problems(folder, masks, unused, double, shared, bare))
    refused = double | shared | (set(bare) if masks else set())
    return Matched({image: mask for image, mask in masks.items() if image not in refused}, refused)


def mask_files(mask: MaskFile | None) -> tuple:
    """The files of a mask: one, several, or none."""
    return () if mask is None else mask.files if isinstance(mask, Pieces) else (mask,)


def _by_name(images: Files, masks: Files) -> dict[str, list[MaskFile]]:
    """Masks of images: one each, as it should be, or several of the same name with different suffixes."""
    found: dict[str, list[MaskFile]] = {}
    left = list(masks.paths)
    for form in _FORMS:
        names = _Names(images, masks._replace(paths=left), form)
        missing = (image for image in images.paths if image not in found)
        found |= {image: own for image in missing if (own := names.masks_of(image))}
        used = _used(found)
        left = [path for path in left if path not in used]
    # At last those that lie in other folders of the same defect, where no two are of the same name.
    names = {**_once(left, _image_name), **_once(left, stem)}
    single = _once(images.paths, stem).items()
    others: dict[str, list[MaskFile]] = {
        image: [names[name]] for name, image in single if image not in found and name in names
    }
    return found | others


class _Names:
    """Masks by place and name, in one form of all names."""

    def __init__(self, images: Files, masks: Files, form: Callable[[str], str]):
        self._images, self._form = images, form
        self._folders = {form(images.below(image)) for image in images.paths}
        self._named = collections.defaultdict(list)
        self._within = collections.defaultdict(list)
        for path in masks.paths:
            place = form(masks.below(path))
            self._within[place].append(path)
            self._named[place, "", form(stem(path))].append(path)
            if name := masked_stem(stem(path)):
                self._named[place, "of", form(name)].append(path)

    def masks_of(self, image: str) -> list[MaskFile]:
        """Those called `<stem>_mask`, else `<stem>`, else by another word; else all in a folder `<stem>`."""
        place, name = self._form(self._images.below(image)), self._form(stem(image))
        for key in (("", f"{name}_mask"), ("", name), ("of", name)):
            if own := self._named.get((place, *key)):
                return list(own)
        folder = os.path.join(place, name)
        pieces = [] if folder in self._folders else self._within.get(folder, [])
        return [Pieces(tuple(pieces))] if len(pieces) > 1 else list(pieces)


def _used(found: Mapping[str, Sequence[MaskFile]]) -> set[str]:
    return {path for own in found.values() for mask in own for path in mask_files(mask)}


def _image_name(mask: str) -> str | None:
    return masked_stem(stem(mask))


def _once(paths: Iterable[str], name: Callable[[str], str | None]) -> dict[str, str]:
    """Paths by a name of theirs, where no two have the same."""
    named = collections.defaultdict(list)
    for path in paths:
        if key := name(path):
            named[folded(key)].append(path)
    return {key: same[0] for key, same in named.items() if len(same) == 1}


def _problems(
    folder: str,
    masks: Mapping[str, Any],
    unused: Sequence[str],
    double: set[str],
    shared: set[str],
    bare: Sequence[str],
) -> Iterator[Problem]:
    if unused:
        summary = f"'{folder}': {len(unused)} masks without an image of the same name in test/<defect>"
        remedy = (
            "A mask is named <image's name>_mask.png or as the image, in ground_truth/<the image's defect>. "
            "Rename these masks or take them away."
        )
        yield Problem(summary, tuple(unused), remedy)
    if double:
        summary = f"'{folder}': {len(double)} images have two masks"
        yield Problem(summary, tuple(sorted(double)), "Take one of the two masks away.")
    if shared:
        summary = f"'{folder}': {len(shared)} images differ in their suffix only, so that they have one mask"
        remedy = "Rename the image that the mask is not of, and give it its own."
        yield Problem(summary, tuple(sorted(shared)), remedy)
    if masks and bare:
        summary = f"'{folder}': {len(masks)} defective images have a mask but {len(bare)} have none"
        remedy = (
            "A class has a mask for every defective image or for none: add the missing "
            "<image's name>_mask.png, or take the class's ground_truth away."
        )
        yield Problem(summary, tuple(bare), remedy)


def masks_among(paths: Iterable[str], *, sure: bool = True) -> list[str]:
    """Files that are masks by their names: x_mask.png in a folder that has an image x.

    Args:
        paths: of images in any folders.
        sure: leave out what may well be an image, x_label.png.
    """
    stems = collections.defaultdict(set)
    paths = list(paths)
    for path in paths:
        stems[os.path.dirname(path)].add(stem(path))
    return [path for path in paths if masked_stem(stem(path), sure=sure) in stems[os.path.dirname(path)]]


def is_two_valued(path: str) -> bool:
    """Whether an image has no more than two colours, as a mask has; not, if it cannot be read."""
    try:
        return few_colours(decode(path).pixels) <= 2
    except UserError:
        return False


def is_black(mask: str) -> bool:
    """Whether a mask shows no defect; not, if it cannot be read."""
    try:
        return not load_whole_mask(mask, image=mask).any()
    except UserError:
        return False


def few_colours(pixels: Image.Image | np.ndarray) -> int:
    """How many colours a decoded image has: 1, 2, or 3 for more."""
    if isinstance(pixels, np.ndarray):
        of_pixels = pixels.reshape(-1, pixels.shape[2]) if pixels.ndim == 3 else pixels.ravel()
        return min(len(np.unique(of_pixels, axis=0)), 3)
    colours = pixels.getcolors(2)
    return 3 if colours is None else len(colours)
