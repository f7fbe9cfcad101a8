"""Keys, presets and backbones of SPADE.

Presets: `default` and `paper` (Cohen & Hoshen, 2020: published scores, smoothed maps).
"""

from hgad_jax.config import shared
from hgad_jax.config.key import Key, at_least
from hgad_jax.config.recipe import PAPER, PLAIN, Recipe, weights

_SECTIONS = {
    "detector": {
        "name": shared.name("spade"),
        "gallery": Key(
            1024,
            "whose features are kept; a random choice where there are more",
            at_least(1),
            "images",
        ),
        "neighbours": Key(50, "K, nearest images", at_least(1), "images"),
        "pixel_neighbours": Key(1, "κ, nearest positions in those", at_least(1), "positions"),
    },
    "loss": {},
}

RECIPE = Recipe(
    sections=_SECTIONS,
    defaults=PLAIN
    | {"train.epochs": 0.0, "train.stage_two_epoch": 0.0, "train.positions": 0, "train.keep": "last"},
    presets={"paper": lambda asked: PAPER},
    # The last tap finds the images, the others compare positions with it.
    backbones={
        "wide_resnet50_2": weights("wide_resnet50_2.tv_in1k", ("layer1", "layer2", "layer3", "layer4"))
    },
    paper_backbone="wide_resnet50_2",
)
