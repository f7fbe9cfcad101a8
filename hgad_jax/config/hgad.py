"""HGAD's keys, presets and backbones.

Presets:
  default   converges in minutes: whitened features, couplings that start as the identity, balanced losses.
  paper     every published value of HGAD (Yao et al., ECCV 2024, and its released code), EfficientNet-B6
            where no other backbone is named; 200 passes over 1024-pixel images, so days on a CPU.
  text      the same as the paper's text has it, where the released code is otherwise.
"""

from collections.abc import Callable

from hgad_jax.config import dinov2, shared
from hgad_jax.config.key import Key
from hgad_jax.config.recipe import PAPER, PLAIN, TEXT, Asked, Changes, Recipe, weights

_SECTIONS = {
    "detector": {
        "name": shared.name("hgad"),
        **shared.parts(flow="dense", base="hierarchical", clamp=1.9, hidden_ratio=2.0),
        "zero_grad": Key(
            "none",
            "a step takes all levels together (none: as PyTorch from 2.0 on); or one after the other, the "
            "gradient of the others being zeros, so that their momentum moves them (zeros: as before 2.0)",
            shared.ZERO_GRAD,
            before="none",
        ),
    },
    "loss": {
        "likelihood": Key(1.0, "weight of L_g, nats per dimension", shared.WEIGHT),
        "mutual_information": Key(0.01, "weight of the mutual information, nats, maximised", shared.WEIGHT),
        "entropy": Key(0.0, "weight of L_e, nats", shared.WEIGHT),
        "intra": Key(1.0, "weight of L_in, nats per dimension; from stage two on", shared.WEIGHT),
        "log_sigmoid": Key(0.0, "weight of L_z; from stage two on", shared.WEIGHT),
    },
    "altub": shared.altub(rate_ratio=50.0),
}


def _paper(asked: Asked) -> Changes:
    del asked
    return {
        **PLAIN,
        **PAPER,
        "data.detail": 1,
        "bank.size": 0,
        "scoring.image_score": "map",
        "scoring.evidence": (),
        "data.image_size": 1024,
        "data.resize": "short_side_crop",
        "data.interpolation": "lanczos",
        "backbone.taps": ("blocks.4",),
        "backbone.scales": (1, 2, 4),
        "detector.num_blocks": 12,
        "detector.condition_channels": 256,
        "detector.identity_init": False,
        "detector.conditioning": "none",
        "detector.per_class": False,
        "detector.regions": 0,
        "detector.num_centres": 10,
        "detector.delta_scale": 1.0,
        "loss.mutual_information": 100.0,
        "loss.entropy": 1.0,
        "loss.intra": 1.0,
        "loss.log_sigmoid": 1.0,
        "train.epochs": 200.0,
        "train.stage_two_epoch": 16.0,
        "train.batch_size": 8,
        "train.positions": 0,
        "train.micro_batches": 8,
        "train.learning_rate": 2e-4,
        "train.warmup_epochs": 16.0,
        "train.hold_epochs": 8.0,
        "train.adam_count": "gradients",
        "train.weight_decay": 1e-4,
        "train.clip_norm": 0.0,
        "train.keep": "last",
        "altub.rate_ratio": 250.0,
        "scoring.map_size": 256,
    }


def _text(asked: Asked) -> Changes:
    """What the text has where the released code is otherwise; stages in proportion to its epochs."""
    del asked
    return {
        "detector.fixed_scale": True,
        "detector.label_smoothing": 0.0,
        "loss.log_sigmoid": 0.0,
        "train.epochs": 100.0,
        "train.stage_two_epoch": 8.0,
        "train.warmup_epochs": 8.0,
        "train.hold_epochs": 4.0,
    }


def _backbone(name: str, pyramid: tuple[str, ...], stage: str) -> Callable[[Asked], Changes]:
    """The pyramid; or with the published settings its stage of stride 16, at several input sizes."""
    return lambda asked: weights(name, (stage,) if asked.is_paper else pyramid)(asked)


RECIPE = Recipe(
    sections=_SECTIONS,
    defaults={
        "data.detail": 2,
        "bank.size": 4000,
        "scoring.image_score": "logsumexp",
        # The levels of the flow together, with and without the coarsest, standardised both ways; the coarser
        # two, and those of the bank, by themselves. docs/measurements.md has what else was tried.
        "scoring.evidence": ("0+1+2", "0+1+2@position", "0+1", "0+1@position", "1", "2", "3", "4"),
    },
    presets={"paper": _paper, TEXT: _text},
    backbones={
        "tf_efficientnet_b6": _backbone(
            "tf_efficientnet_b6.aa_in1k", ("blocks.2", "blocks.4", "blocks.6"), "blocks.4"
        ),
        "wide_resnet50_2": _backbone("wide_resnet50_2.tv_in1k", ("layer2", "layer3", "layer4"), "layer3"),
        "resnet18": _backbone("resnet18.tv_in1k", ("layer2", "layer3", "layer4"), "layer3"),
        **dinov2.words(dinov2.hgad),
    },
    paper_backbone="tf_efficientnet_b6",
)
