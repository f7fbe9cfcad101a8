"""FastFlow: keys, presets and backbones that the configs `fastflow_*.py` share.

Presets: `default` (whitened features; minutes), `paper` (Yu et al., 2021, with the settings of its known
implementations), `altub` (either of them with AltUB's base distribution).
"""

import ml_collections

from configs import default
from configs.arguments import CLASSES, parse

_PYRAMID = ("layer1", "layer2", "layer3")
_VIT = {
    "num_blocks": 20,
    "kernel_sizes": (3, 1),
    "hidden_ratio": 0.16,
    "norm": "none",
}  # its own norm, frozen
# name, taps, side in pixels, keys of the detector
BACKBONES = {
    "resnet18": ("resnet18.tv_in1k", _PYRAMID, 256, {"kernel_sizes": (3,)}),
    "wide_resnet50_2": ("wide_resnet50_2.racm_in1k", _PYRAMID, 256, {"kernel_sizes": (3, 1)}),
    "deit": ("deit_base_distilled_patch16_384", ("blocks.7.norm",), 384, _VIT),
    "cait": ("cait_m48_448", ("blocks.40.norm",), 448, _VIT),
}

# What it has of its own, beside the keys of configs/default.py.
KEYS = {
    "name": "fastflow",
    "flow": "convolution",
    "base": "standard",
    "hidden_ratio": 1.0,
    "clamp": 2.0,
    "score_log_det": True,  # whether a position's score has its share of the log-determinant
}


def get_config(
    argument: str = "", *, dataset: str = "folder", paper: bool = False
) -> ml_collections.ConfigDict:
    """The configuration; arguments as those of `configs.cflow.get_config`."""
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
    config.loss = ml_collections.ConfigDict({"likelihood": 1.0})  # nats per image
    config.train.update(stage_two_epoch=0.0, beta1=0.9, beta2=0.999)
    config.train.update(epochs=8.0, batch_size=32, positions=0, micro_batches=8, keep="last")
    if "paper" in words.presets or (paper and "default" not in words.presets):
        _paper(config)
    backbone = words.backbone or ("wide_resnet50_2" if paper else None)
    if backbone in BACKBONES:
        config.backbone.name, config.backbone.taps, config.data.image_size, keys = BACKBONES[backbone]
        config.backbone.source = "cache"  # put there by `python -m hgad_jax.backbones fetch NAME`
        config.detector.update(keys)
    if "altub" in words.presets:
        config.detector.base = "trainable"
    return config


def _paper(config: ml_collections.ConfigDict) -> None:
    config.detector.update(
        identity_init=False,
        norm="trainable",
        conditioning="none",
        per_class=False,
        regions=0,
        score_log_det=False,
    )
    config.train.update(
        epochs=500.0,
        batch_size=32,
        learning_rate=1e-3,
        warmup_epochs=0.0,
        final_learning_rate=1.0,
        weight_decay=1e-5,
        clip_norm=0.0,
    )
    config.scoring.protocol = "paper"
