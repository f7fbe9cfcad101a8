"""DINOv2's words for `--config`, such as `hgad_folder:dinov2_vits14_reg`, and what they change.

None of this has been measured on pretrained weights. Sides are 392 pixels, 28 patches, and maps are the means
of blocks in two groups, as detectors on these features have had them since Dinomaly. A bank beside the flow
is of the same maps, of the same pass: another over a larger image, as the default backbone's, would cost more
than all the rest. Maps are taken as they are: what equalizing is good for was seen on convolutional features.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.config.recipe import PLAIN, Asked, Changes

SIDE = 392  # pixels
PYRAMID_SIDE = 504  # pixels; it, its half and its quarter are multiples of the patch


class Member(NamedTuple):
    """A member of the family, as settings depend on it."""

    name: str  # of the backbone, with its tag
    channels: int
    taps: tuple[str, ...]


def members() -> dict[str, Member]:
    """All by their words, which are the names of the authors' hub."""
    found = {}
    for size, channels in {"small": 384, "base": 768, "large": 1024}.items():
        for word, infix in (("", ""), ("_reg", "reg4_")):
            name = f"vit_{size}_patch14_{infix}dinov2"
            found[f"dinov2_vit{size[0]}14{word}"] = Member(f"{name}.lvd142m", channels, CATALOGUE[name].taps)
    return found


def words(changes: Callable[[Member, Asked], Changes]) -> Mapping[str, Callable[[Asked], Changes]]:
    """The words of a detector: name, source, taps and side, and what it changes for itself."""

    def of(member: Member) -> Callable[[Asked], Changes]:
        common = {
            "backbone.name": member.name,
            "backbone.source": "cache",
            "backbone.taps": member.taps,
            "data.image_size": SIDE,
        }
        return lambda asked: common | dict(changes(member, asked))

    return {word: of(member) for word, member in members().items()}


def candidates(member: Member) -> int:
    """Vectors that a bank's centres are chosen from: 300 MB of each class and level, whatever the width."""
    return {384: 200_000, 768: 100_000, 1024: 75_000}[member.channels]


def hgad(member: Member, asked: Asked) -> Changes:
    """With a bank of the same maps; published settings at one tap and three input sizes."""
    if asked.is_paper:
        return {"data.image_size": PYRAMID_SIDE, "backbone.taps": member.taps[-1:]}
    return PLAIN | {
        "data.detail": 1,
        "bank.taps": member.taps,
        "bank.candidates": candidates(member),
        # The covariances of a class and level are 38 MB, whatever the width.
        "detector.regions": {384: 64, 768: 16, 1024: 9}[member.channels],
        "scoring.evidence": ("0+1", "0+1@position", "0", "1", "2", "3"),
    }


def fastflow(member: Member, asked: Asked) -> Changes:
    """The couplings that FastFlow has on transformers, on maps that the backbone's own norm has gone over."""
    del asked
    return {
        "backbone.taps": tuple(f"{tap}.norm" for tap in member.taps),
        "detector.num_blocks": 20,
        "detector.kernel_sizes": (3, 1),
        "detector.hidden_ratio": 0.16,
        "detector.norm": "none",
    }


def padim(member: Member, asked: Asked) -> Changes:
    """So many dimensions that the covariances of 784 positions are 125 MB a class."""
    del member, asked
    return {"detector.dimensions": 200}


def patchcore(member: Member, asked: Asked) -> Changes:
    """A bank for each of both maps, as they are; published settings put them side by side."""
    return {
        "detector.bank_candidates": candidates(member),
        **({"backbone.neighbours": (3, 3)} if asked.is_paper else {}),
    }
