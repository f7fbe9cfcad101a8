"""Keys, presets and backbones of CFLOW-AD and U-FLOW.

Presets: `default` (whitened features, a step per batch; minutes), `paper` (Gudovskiy et al., 2022, as the
released code has it), `text` (as its text has it, where that is otherwise), `altub` (any of them with AltUB's
base distribution).
"""

from collections.abc import Callable

from hgad_jax.config import shared
from hgad_jax.config.key import Key, at_least
from hgad_jax.config.recipe import PAPER, PLAIN, TEXT, Asked, Changes, Recipe, weights

# Input sides of MVTec AD's classes in the README of the released code, pixels; 512 of the others.
_SIZES = dict.fromkeys(("cable", "capsule", "hazelnut", "metal_nut", "pill"), 256) | {"transistor": 128}

_SECTIONS = {
    "detector": {
        "name": shared.name("cflow"),
        **shared.parts(flow="dense", base="standard", clamp=1.9, hidden_ratio=2.0),
        "fibre": Key(
            0,
            "of one optimiser step, out of the shuffled batch; 0: all, one step a batch",
            at_least(0),
            "vectors",
        ),
        "zero_grad": Key(
            "none",
            "fibres: a step leaves other levels alone (none), or takes their gradient as zeros",
            shared.ZERO_GRAD,
        ),
    },
    "loss": {
        "likelihood": Key(1.0, "weight of the negative log-likelihood, nats per dimension", shared.WEIGHT),
        "log_sigmoid": Key(0.0, "weight of −log sigmoid of the log-likelihood per dimension", shared.WEIGHT),
        **shared.OF_CLASSES,
    },
    "altub": shared.altub(rate_ratio=50.0),
}


def _paper(asked: Asked) -> Changes:
    return {
        **PAPER,
        "data.image_size": _SIZES.get(asked.class_name, 512) if asked.dataset == "mvtec_ad" else 256,
        "data.interpolation": "lanczos",
        "data.rotation": 5.0,
        "detector.condition_channels": 128,
        "detector.identity_init": False,
        "detector.conditioning": "none",
        "detector.per_class": False,
        "detector.regions": 0,
        "detector.fibre": 256,  # as released; the text says 8,192
        "detector.zero_grad": "zeros",  # PyTorch before 2.0
        "train.adam_count": "gradients",
        "loss.likelihood": 0.0,
        "loss.log_sigmoid": 1.0,
        "altub.start_epoch": 16.0,  # after the warm-up
        "altub.rate_ratio": 250.0,  # at most .05
        "train.epochs": 200.0,
        "train.batch_size": 32,
        "train.learning_rate": 2e-4,
        "train.warmup_epochs": 16.0,
        "train.hold_epochs": 8.0,
        "train.clip_norm": 0.0,
    }


def _text(asked: Asked) -> Changes:
    """What the text has where the released code is otherwise; its cosine changes from epoch to epoch."""
    del asked
    return {
        "detector.fibre": 8192,
        "loss.likelihood": 1.0,
        "loss.log_sigmoid": 0.0,
        "altub.start_epoch": 2.0,
        "train.epochs": 100.0,
        "train.warmup_epochs": 2.0,
        "train.hold_epochs": 1.0,
    }


def _backbone(name: str, taps: tuple[str, ...]) -> Callable[[Asked], Changes]:
    """Taps of the paper's code, and its normalisation of images, which is another for one dataset."""

    def changes(asked):
        colours = {"backbone.mean": (0.5,) * 3, "backbone.std": (0.225,) * 3}
        return {**weights(name, taps)(asked), **(colours if asked.dataset == "stc" else {})}

    return changes


_RESNET = ("layer2", "layer3", "layer4")

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
    presets={"paper": _paper, TEXT: _text, "altub": shared.altub_preset(last_epoch=200.0)},
    backbones={
        "wide_resnet50_2": _backbone("wide_resnet50_2.tv_in1k", _RESNET),
        "resnet18": _backbone("resnet18.tv_in1k", _RESNET),
        "mobilenetv3_large": _backbone(
            "mobilenetv3_large_100.tv_in1k",
            ("blocks.2.2.conv_pwl", "blocks.4.1.conv_pwl", "blocks.5.2.conv_pwl"),
        ),
    },
    paper_backbone="wide_resnet50_2",
)
