"""What folders of images would be taken for by their names: a guess that is shown to the user.

Nothing is read by it. `folder` reads MVTec AD's layout and no other, since a wrong guess would train on
defects; `advice` turns the guess into commands that bring the images there.
"""

import collections
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hgad_jax.data.layouts.survey import Place
from hgad_jax.data.masks import closest
from hgad_jax.data.names import Role, label, roles

Parts = tuple[str, ...]
_SPLITS = (Role.TRAIN, Role.TEST, Role.VALIDATION)
_FIXED = {*_SPLITS, Role.GOOD, Role.BAD}  # beside a folder of these, one with a name of its own is a defect's


class Group(NamedTuple):
    """Images of one kind: those in a folder and below it that are of no other group.

    Attributes:
        folder: the way to it from the root.
        places: folders in it, or itself, that hold the images directly.
        product: the class; () where the root itself is the class.
        split: training, test or validation.
        kind: good, defective, masks, depths; None for test images of which it cannot be told.
        defect: its name, for defective images and masks; "" where it cannot be told.
        guessed: whether nothing in the names says what kind it is.
    """

    folder: Parts
    places: tuple[Place, ...]
    product: Parts
    split: Role
    kind: Role | None
    defect: str
    guessed: bool

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(len(place.images) for place in self.places)


class _Names:
    """The names of all folders that hold images somewhere below, and what each is for."""

    def __init__(self, places: Iterable[Place]):
        self._children = collections.defaultdict(set)
        for place in places:
            for depth, name in enumerate(place.parts):
                self._children[place.parts[:depth]].add(name)
        self._after = collections.defaultdict(set)
        for place in places:
            self._note(place.parts)
        outermost = self._children[()]
        self._products = {
            name for name in outermost if not self.roles((name,), 0) and not self.has_fixed_beside((name,), 0)
        }

    def _note(self, parts: Parts) -> None:
        """Remember which name follows a split or a label that no product's name came before."""
        for depth in range(len(parts) - 1):
            found = self.roles(parts, depth)
            if not found:
                return
            if not self.roles(parts, depth + 1):
                self._after[found[-1]].add(parts[depth + 1])

    def roles(self, parts: Parts, depth: int) -> tuple[Role, ...]:
        """What the folder `parts[depth]` is for, by its name and those beside it."""
        name, beside = parts[depth], self._children[parts[:depth]]
        if found := roles(name):
            return found
        if beside == {"0", "1"}:
            return (Role.GOOD,) if name == "0" else (Role.BAD,)
        labels = {label(other) for other in beside}
        own = label(name)
        return (own,) if own and labels >= {Role.GOOD, Role.BAD} else ()

    def has_fixed_beside(self, parts: Parts, depth: int) -> bool:
        """Whether a folder beside `parts[depth]` is for training, for good images and the like."""
        others = self._children[parts[:depth]] - {parts[depth]}
        return any(_FIXED & set(self.roles((*parts[:depth], other), depth)) for other in others)

    def is_product(self, parts: Parts, depth: int) -> bool:
        """Whether a name below a split or a label is that of a product: it stands below several of them."""
        name, after, beside = parts[depth], self._after, self._children[parts[:depth]]
        twice = (after[Role.GOOD] & after[Role.BAD]) | (after[Role.TRAIN] & after[Role.TEST])
        if beside & (twice | self._products):
            return True
        return name in after[Role.TRAIN] and len(beside) > 1 and not self.has_fixed_beside(parts, depth)


def group(places: Sequence[Place]) -> list[Group]:
    """Sort folders of images by what their names say."""
    names = _Names(places)
    found: dict[tuple, list[Place]] = {}
    for place in places:
        found.setdefault(_read(place.parts, names), []).append(place)
    groups = [Group(key[0], tuple(own), *key[1:]) for key, own in found.items()]
    return [_with_defect(one, groups) for one in groups]


def _read(parts: Parts, names: _Names) -> tuple:
    """Folder, product, split, kind, defect and whether that is a guess, from the outermost name on."""
    product: list[str] = []
    split = kind = None
    mask = depths = worded = False  # worded: that it is defective, and no more, is said by a name such as NG
    defect, folder = "", 0
    for depth, name in enumerate(parts):
        found = names.roles(parts, depth)
        for role in found:
            if role in _SPLITS:
                split = split or role
            elif role is Role.MASK:
                mask = True
            elif role is Role.DEPTH:
                depths = True
            elif role in (Role.GOOD, Role.BAD) and kind is None:
                kind = role
                defect, worded = ("good", False) if role is Role.GOOD else (name, True)
        if found:
            folder = depth + 1
        elif split is None and kind is None and not mask:
            if names.has_fixed_beside(parts, depth):
                kind, defect = Role.BAD, name
            else:
                product.append(name)
            folder = depth + 1
        elif not product and names.is_product(parts, depth):
            product.append(name)
            folder = depth + 1
        elif worded or (mask and not defect):  # scratch in NG or in masks
            defect, worded, folder = name, False, depth + 1
        elif kind is None and (split is Role.TEST or names.has_fixed_beside(parts, depth)):
            kind, defect, folder = Role.BAD, name, depth + 1
    guessed = kind is None and not mask and not depths
    if guessed and split is not Role.TEST:
        kind, defect = Role.GOOD, "good"
    split = split or (Role.TEST if kind is Role.BAD else Role.TRAIN)
    if kind is Role.BAD or mask:
        split = Role.TEST
    kind = Role.DEPTH if depths else Role.MASK if mask else kind
    return parts[:folder], tuple(product), split, kind, defect, guessed


def _with_defect(one: Group, groups: Sequence[Group]) -> Group:
    """Masks with the name of the defect that they are of, spelled as the images' folder is."""
    if one.kind is not Role.MASK:
        return one
    defects = {other.defect for other in groups if other.kind is Role.BAD and other.product == one.product}
    if one.defect and one.defect != "good":
        return one._replace(defect=closest(one.defect, defects) or one.defect)
    return one._replace(defect=defects.pop()) if len(defects) == 1 and not one.defect else one
