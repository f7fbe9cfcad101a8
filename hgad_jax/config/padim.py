"""Keys, presets and backbones of PaDiM.

Presets: `default` and `paper` (Defard et al., 2020: published scores, smoothed maps).
"""

from hgad_jax.config import dinov2, shared
from hgad_jax.config.key import Key, above, at_least
from hgad_jax.config.recipe import PAPER, PLAIN, Recipe, weights

_SECTIONS = {
    "detector": {
        "name": shared.name("padim"),
        "dimensions": Key(
            100, "channels kept, drawn from those of all levels; all if there are fewer", at_least(1)
        ),
        "regularization": Key(0.01, "added to every variance", above(0)),
    },
    "loss": {},
}
_PYRAMID = ("layer1", "layer2", "layer3")

RECIPE = Recipe(
    sections=_SECTIONS,
    defaults=PLAIN
    | {"train.epochs": 0.0, "train.stage_two_epoch": 0.0, "train.positions": 0, "train.keep": "last"},
    presets={"paper": lambda asked: PAPER},
    backbones={
        "resnet18": weights("resnet18.tv_in1k", _PYRAMID, dimensions=100),
        "wide_resnet50_2": weights("wide_resnet50_2.tv_in1k", _PYRAMID, dimensions=550),
        **dinov2.words(dinov2.padim),
    },
    paper_backbone="wide_resnet50_2",
)
