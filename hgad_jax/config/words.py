"""What follows the colon in `--config=cflow_mvtec_ad:screw,resnet18`: words in any order."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from hgad_jax.errors import UserError

_MVTEC_AD = (
    *("bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill"),
    *("screw", "tile", "toothbrush", "transistor", "wood", "zipper"),
)
_BTAD = ("01", "02", "03")
_MVTEC_3D = (
    *("bagel", "cable_gland", "carrot", "cookie", "dowel"),
    *("foam", "peach", "potato", "rope", "tire"),
)
_VISA = (
    *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
    *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
)
# The classes of each dataset; those of a folder are the user's (config.data.class_name).
CLASSES = {
    "folder": (),
    "elpv": ("mono", "poly"),
    "mvtec_ad": _MVTEC_AD,
    "btad": _BTAD,
    "mvtec_3d_rgb": _MVTEC_3D,
    "visa": _VISA,
    "union": (*_MVTEC_AD, *_BTAD, *_MVTEC_3D, *_VISA),
    "stc": tuple(f"{scene:02}" for scene in range(1, 13)),
}


class Words(NamedTuple):
    """What the words of a config's argument mean."""

    presets: tuple[str, ...]
    backbone: str  # "" for the one that the presets take
    class_name: str  # "" for all classes


def parse(
    argument: str, *, presets: Collection[str], backbones: Collection[str], classes: Sequence[str]
) -> Words:
    """Sorts the words, separated by commas, into presets, one backbone and one class.

    Raises:
      UserError: a word that is none of them, or two backbones or classes.
    """
    kinds = {"preset": presets, "backbone": backbones, "class": classes}
    found = {kind: [] for kind in kinds}
    for word in filter(None, (w.strip() for w in argument.split(","))):
        kind = next((kind for kind, words in kinds.items() if word in words), None)
        if kind is None:
            known = "; ".join(f"{kind}: {', '.join(words)}" for kind, words in kinds.items() if words)
            raise UserError(f"'{word}', after the colon of --config, is not known. Known are {known}.")
        found[kind].append(word)
    for kind in ("backbone", "class"):
        if len(found[kind]) > 1:
            raise UserError(f"Two words for one {kind} after --config's colon: {', '.join(found[kind])}.")
    return Words(tuple(found["preset"]), next(iter(found["backbone"]), ""), next(iter(found["class"]), ""))
