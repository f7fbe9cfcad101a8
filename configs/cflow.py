"""CFLOW-AD and U-FLOW: keys, presets and backbones that the configs `cflow_*.py` and `uflow_*.py` share.

Presets: `default` (whitened features, a step per batch; minutes), `paper` (Gudovskiy et al., 2022,
as the released code has it), `altub` (either of them with AltUB's base distribution).
"""

import ml_collections

from configs import default
from configs.arguments import CLASSES, parse

# Where the paper's code taps its encoders, and their input sides.
BACKBONES = {
    "wide_resnet50_2": ("wide_resnet50_2.tv_in1k", ("layer2", "layer3", "layer4")),
    "resnet18": ("resnet18.tv_in1k", ("layer2", "layer3", "layer4")),
    "mobilenetv3_large": (
        "mobilenetv3_large_100.tv_in1k",
        ("blocks.2.2.conv_pwl", "blocks.4.1.conv_pwl", "blocks.5.2.conv_pwl"),
    ),
}
# README of the released code; pixels.
SIZES = dict.fromkeys(("cable", "capsule", "hazelnut", "metal_nut", "pill"), 256) | {"transistor": 128}

# What it has of its own, beside the keys of configs/default.py.
KEYS = {
    "name": "cflow",
    "base": "standard",
    "fibre": 0,  # vectors of one optimiser step, out of the shuffled batch; 0: all, one step a batch
    "zero_grad": "none",  # fibres: a step leaves other levels alone, or takes their gradient as "zeros"
}


def get_config(
    argument: str = "", *, dataset: str = "folder", paper: bool = False, condition: bool = True
) -> ml_collections.ConfigDict:
    """The configuration.

    Args:
      argument: words after the colon: presets, a backbone, a class.
      dataset: `config.data.name`.
      paper: whether the preset `paper` is taken where no preset is named.
      condition: False for U-FLOW.
    """
    words = parse(
        argument,
        presets=("default", "paper", "altub"),
        backbones=("tf_efficientnet_lite0", *BACKBONES),
        classes=CLASSES[dataset],
    )
    config = default.get_config()
    config.data.name = dataset
    config.data.class_name = words.class_name
    config.backbone.update(default.PLAIN)
    config.detector.update(KEYS)
    config.loss.update(mutual_information=0.0, intra=0.0)  # which need the hierarchical mixture
    config.altub.rate_ratio = 250.0
    config.train.update(stage_two_epoch=0.0, beta1=0.9, beta2=0.999)
    config.train.update(epochs=8.0, batch_size=32, positions=0, micro_batches=8, keep="last")
    if "paper" in words.presets or (paper and "default" not in words.presets):
        _paper(config, words.class_name, dataset)
    backbone = words.backbone or ("wide_resnet50_2" if paper else None)
    if dataset == "stc" and backbone in BACKBONES:
        config.backbone.update(
            mean=(0.5,) * 3, std=(0.225,) * 3
        )  # the released code's, for this dataset alone
    if backbone in BACKBONES:
        config.backbone.name, config.backbone.taps = BACKBONES[backbone]
        config.backbone.source = "cache"  # put there by `python -m hgad_jax.backbones fetch NAME`
    if "altub" in words.presets:
        config.detector.base = "trainable"
    if not condition:
        config.detector.condition_channels = 0
    return config


def _paper(config: ml_collections.ConfigDict, class_name: str, dataset: str) -> None:
    config.data.image_size = SIZES.get(class_name, 512) if dataset == "mvtec_ad" else 256
    config.data.update(interpolation="lanczos", rotation=5.0)
    config.detector.update(
        condition_channels=128,
        identity_init=False,
        conditioning="none",
        per_class=False,
        regions=0,
        fibre=256,  # as released; the text says 8,192
        zero_grad="zeros",  # PyTorch before 2.0
    )
    config.loss.update(likelihood=0.0, log_sigmoid=1.0)
    config.altub.start_epoch = 16.0  # after the warm-up
    config.train.update(
        epochs=200.0,
        batch_size=32,
        learning_rate=2e-4,
        warmup_epochs=16.0,
        hold_epochs=8.0,
        clip_norm=0.0,
    )
    config.scoring.protocol = "paper"
