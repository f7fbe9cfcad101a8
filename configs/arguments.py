"""What follows the colon in `--config=configs/cflow_mvtec_ad.py:screw,resnet18`: words in any order."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from hgad_jax.errors import UserError

CLASSES = {
    "mvtec_ad": (
        *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill"),
        *("screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
    ),
    "btad": ("01", "02", "03"),
    "stc": tuple(f"{scene:02}" for scene in range(1, 13)),
    "elpv": ("mono", "poly"),
    "folder": (),
}


class Words(NamedTuple):
    """What the words of a config's argument mean."""

    presets: tuple[str, ...]
    backbone: str | None
    class_name: str  # "" for all classes


def parse(
    argument: str, *, presets: Collection[str], backbones: Collection[str] = (), classes: Sequence[str] = ()
) -> Words:
    """Sorts the words, separated by commas, into presets, one backbone and one class.

    Raises:
      UserError: a word that is none of them, or two backbones or classes.
    """
    found = {"preset": [], "backbone": [], "class": []}
    for word in filter(None, (w.strip() for w in argument.split(","))):
        kinds = {"preset": presets, "backbone": backbones, "class": classes}
        kind = next((kind for kind, words in kinds.items() if word in words), None)
        if kind is None:
            known = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in kinds.items() if words)
            raise UserError(f"'{word}', after the colon of --config, is not known. Known are {known}.")
        found[kind].append(word)
    for kind in ("backbone", "class"):
        if len(found[kind]) > 1:
            raise UserError(f"Two words for one {kind} after --config's colon: {', '.join(found[kind])}.")
    return Words(tuple(found["preset"]), next(iter(found["backbone"]), None), next(iter(found["class"]), ""))
