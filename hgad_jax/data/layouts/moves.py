"""The commands that bring folders of images into MVTec AD's layout."""

import collections
import os
from collections.abc import Mapping, Sequence

from hgad_jax.data.layouts import shell
from hgad_jax.data.layouts.groups import Group, Parts
from hgad_jax.data.layouts.heaps import Heap
from hgad_jax.data.layouts.survey import Place, Survey
from hgad_jax.data.names import Role
from hgad_jax.data.records import GOOD

_DEFECTIVE = "defective"  # of a defect that has no name


def commands(
    found: Survey, groups: Sequence[Group], wanted: Sequence[Group], heaps: Mapping[Parts, Heap]
) -> list[str]:
    """Commands that move what is not in its place.

    Args:
        found: the folder.
        groups: all that is in it.
        wanted: those of them that may be moved.
        heaps: folders in which images of several kinds lie.
    """
    mover = _Mover(found, groups, heaps)
    # What lies deepest first: it is gone when the folder around it goes.
    for group in sorted(wanted, key=lambda group: (-len(group.folder), group.folder)):
        mover.bring(group)
    return mover.commands


def in_place(group: Group, base: Parts) -> bool:
    """Whether images are where they are read."""
    target = _target(group, base)
    return target is not None and group.folder[: len(target)] == target


def bases(found: Survey, groups: Sequence[Group]) -> dict[Parts, Parts]:
    """The folder of each class, from the root: that of its name, or the root itself for a single class."""
    products = {group.product for group in groups}
    if products == {()}:
        return {(): ()}
    last = collections.Counter(product[-1] for product in products if product)
    own = os.path.basename(found.root)
    return {
        product: (own,) if not product else product[-1:] if last[product[-1]] == 1 else ("_".join(product),)
        for product in products
    }


def _target(group: Group, base: Parts) -> Parts | None:
    """Where a group belongs; None where that cannot be told."""
    match group.kind:
        case Role.GOOD:
            return (*base, "test" if group.split is Role.TEST else "train", GOOD)
        case Role.BAD:
            return (*base, "test", group.defect)
        case Role.MASK if group.defect:
            return (*base, "ground_truth", group.defect)
        case Role.DEPTH if len(group.folder) > len(group.product) + 1:  # else it is in nobody's way
            return (*base, group.folder[-1], "test" if group.split is Role.TEST else "train", group.defect)
    return None


class _Mover:
    """Collects commands and knows which names are taken."""

    def __init__(self, found: Survey, groups: Sequence[Group], heaps: Mapping[Parts, Heap]):
        self._found, self._bases, self._heaps = found, bases(found, groups), heaps
        self._staying = {group.folder for group in groups}  # until they are moved
        self._taken = {place.parts[:n] for place in found.places for n in range(len(place.parts) + 1)}
        self._there = set(self._taken)
        self.commands: list[str] = []

    def bring(self, group: Group) -> None:
        """Move the images of a group to their place, if they are not there."""
        base = self._bases[group.product]
        target = _target(group, base)
        sorted_out = [self._sort_out(place, group, base) for place in group.places]
        if target is None or in_place(group, base) or not all(sorted_out):
            return
        target = self._free(target, group.folder[len(group.product) :])
        if not group.folder or any(_lies_in(other, group.folder) for other in self._staying):
            self._bring_files(group, target)
        else:
            self._bring_folder(group.folder, target)
        self._staying.discard(group.folder)

    def _sort_out(self, place: Place, group: Group, base: Parts) -> bool:
        """Take masks, and what is defective among good images, out of a folder; false if nothing is left."""
        found = self._heaps.get(place.parts)
        if found is None:
            return True
        if found.commands is None or (group.kind is Role.GOOD and not found.good):
            return False
        defect = GOOD if not found.defective else group.defect if group.kind is Role.BAD else _DEFECTIVE
        masks = self._free((*base, "ground_truth", defect), place.parts) if found.masks else ()
        goes = group.kind is Role.GOOD and found.defective
        images = self._free((*base, "test", defect), place.parts) if goes else ()
        self.commands += found.commands(self._path(images) if images else "", self._path(masks))
        return True

    def _bring_files(self, group: Group, target: Parts) -> None:
        for place in group.places:
            below = self._path((*target, *place.parts[len(group.folder) :]))
            patterns = [f"*{suffix}" for suffix in sorted({os.path.splitext(n)[1] for n in place.images})]
            self.commands += [shell.make(below), shell.move_files(self._path(place.parts), patterns, below)]

    def _bring_folder(self, folder: Parts, target: Parts) -> None:
        if _lies_in(target, folder):  # train → train/good
            aside = self._free((*folder[:-1], f"{folder[-1]}_"), ())
            self._rename(folder, aside)
            folder = aside
        if target[:-1] not in self._there:
            self.commands.append(shell.make(self._path(target[:-1])))
            self._there |= {target[:n] for n in range(len(target))}
        self._rename(folder, target)

    def _rename(self, folder: Parts, target: Parts) -> None:
        self.commands.append(shell.rename(self._path(folder), self._path(target)))
        self._there = {other for other in self._there if other != folder and not _lies_in(other, folder)}
        self._there.add(target)

    def _free(self, target: Parts, origin: Parts) -> Parts:
        """The target, or a folder in it where it is taken: what lies deeper is read, too."""
        wanted, name = (
            target,
            "_".join([*origin, "moved"]),
        )  # which means nothing to `names.roles`
        while wanted in self._taken:
            wanted, name = (*target, name), f"{name}_"
        self._taken.add(wanted)
        return wanted

    def _path(self, parts: Parts) -> str:
        return os.path.join(self._found.root, *parts)


def _lies_in(folder: Parts, other: Parts) -> bool:
    """Whether a folder lies in another one, and is not that."""
    return len(folder) > len(other) and folder[: len(other)] == other
