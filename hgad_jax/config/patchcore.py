"""PatchCore's keys, presets and backbones.

Presets: `default` (a bank for each level, of the image at 512 pixels) and `paper` (Roth et al., 2022: levels
side by side, 224 pixels, published scores).
"""

from hgad_jax.config import dinov2, shared
from hgad_jax.config.key import Key, anything
from hgad_jax.config.recipe import PAPER, PLAIN, Asked, Changes, Recipe, weights

_SECTIONS = {
    "detector": {
        "name": shared.name("patchcore"),
        "join": Key(
            False, "levels side by side, at the size of the first; else each has its own bank", anything()
        ),
        **shared.of_bank(""),
    },
    "loss": {},
}


def _paper(asked: Asked) -> Changes:
    del asked
    return {
        **PAPER,
        "data.image_size": 224,
        "data.resize": "short_side_crop",
        "backbone.taps": ("blocks.2", "blocks.4"),
        "backbone.neighbours": (3, 3),
        "detector.join": True,
        "detector.bank_kernel": "nearest",
        "detector.bank_projection": 128,
        "scoring.image_score": "map",
    }


RECIPE = Recipe(
    sections=_SECTIONS,
    defaults=PLAIN
    | {
        "data.image_size": 512,
        "backbone.taps": ("blocks.4", "blocks.6"),
        "train.epochs": 0.0,
        "train.stage_two_epoch": 0.0,
        "train.positions": 0,
        "train.keep": "last",
        "scoring.image_score": "two_highest",
    },
    presets={"paper": _paper},
    backbones={
        "wide_resnet50_2": weights("wide_resnet50_2.tv_in1k", ("layer2", "layer3")),
        **dinov2.words(dinov2.patchcore),
    },
    paper_backbone="wide_resnet50_2",
)
