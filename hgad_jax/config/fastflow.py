"""Keys, presets and backbones of FastFlow.

Presets: `default` (whitened features; minutes), `paper` (Yu et al., 2021, with the settings of its known
implementations), `altub` (either of them with AltUB's base distribution).
"""

from collections.abc import Callable
from typing import Any

from hgad_jax.config import dinov2, shared
from hgad_jax.config.key import Key, anything
from hgad_jax.config.recipe import PAPER, PLAIN, Asked, Changes, Recipe, weights

_SECTIONS = {
    "detector": {
        "name": shared.name("fastflow"),
        **shared.parts(flow="convolution", base="standard", clamp=2.0, hidden_ratio=1.0),
        "score_log_det": Key(
            True, "whether a position's score has its share of the log-determinant", anything()
        ),
    },
    "loss": {"likelihood": Key(1.0, "weight of the negative log-likelihood, nats per image", shared.WEIGHT)},
    "altub": shared.altub(rate_ratio=50.0, clip=100.0),
}


def _paper(asked: Asked) -> Changes:
    del asked
    return {
        **PAPER,
        "detector.identity_init": False,
        "detector.norm": "trainable",
        "detector.conditioning": "none",
        "detector.per_class": False,
        "detector.regions": 0,
        "detector.score_log_det": False,
        "train.epochs": 500.0,
        "train.batch_size": 32,
        "train.learning_rate": 1e-3,
        "train.warmup_epochs": 0.0,
        "train.final_learning_rate": 1.0,
        "train.weight_decay": 1e-5,
        "train.adam_count": "gradients",
        "train.clip_norm": 0.0,
    }


def _backbone(name: str, taps: tuple[str, ...], side: int, **detector: Any) -> Callable[[Asked], Changes]:
    return lambda asked: {**weights(name, taps, **detector)(asked), "data.image_size": side}


_PYRAMID = ("layer1", "layer2", "layer3")
_VIT = {
    "num_blocks": 20,
    "kernel_sizes": (3, 1),
    "hidden_ratio": 0.16,
    "norm": "none",
}  # its own norm, frozen

RECIPE = Recipe(
    sections=_SECTIONS,
    defaults=PLAIN
    | {
        "train.stage_two_epoch": 0.0,
        "train.beta1": 0.9,
        "train.beta2": 0.999,
        "train.epochs": 8.0,
        "train.batch_size": 32,
        "train.positions": 0,
        "train.micro_batches": 8,
        "train.keep": "last",
    },
    presets={"paper": _paper, "altub": shared.altub_preset(last_epoch=300.0)},
    backbones={
        "resnet18": _backbone("resnet18.tv_in1k", _PYRAMID, 256, kernel_sizes=(3,)),
        "wide_resnet50_2": _backbone("wide_resnet50_2.racm_in1k", _PYRAMID, 256, kernel_sizes=(3, 1)),
        "deit": _backbone("deit_base_distilled_patch16_384", ("blocks.7.norm",), 384, **_VIT),
        "cait": _backbone("cait_m48_448", ("blocks.40.norm",), 448, **_VIT),
        **dinov2.words(dinov2.fastflow),
    },
    paper_backbone="wide_resnet50_2",
)
