"""SPADE: keys, presets and backbones that the configs `spade_*.py` share.

Presets: `default` and `paper` (Cohen & Hoshen, 2020: published scores, smoothed maps).
"""

import ml_collections

from configs import default
from configs.arguments import CLASSES, parse

# The last tap finds the images, the others compare positions with it.
BACKBONES = {"wide_resnet50_2": ("wide_resnet50_2.tv_in1k", ("layer1", "layer2", "layer3", "layer4"))}


def get_config(
    argument: str = "", *, dataset: str = "folder", paper: bool = False
) -> ml_collections.ConfigDict:
    """The configuration; arguments as those of `configs.cflow.get_config`."""
    words = parse(
        argument,
        presets=("default", "paper"),
        backbones=("tf_efficientnet_lite0", *BACKBONES),
        classes=CLASSES[dataset],
    )
    config = default.get_config()
    config.data.name = dataset
    config.data.class_name = words.class_name
    config.backbone.update(default.PLAIN)
    config.detector = detector = ml_collections.ConfigDict()
    detector.name = "spade"
    detector.gallery = 1024  # images whose features are kept; a random choice where there are more
    detector.neighbours = 50  # K, nearest images
    detector.pixel_neighbours = 1  # κ, nearest positions in those
    config.loss = ml_collections.ConfigDict()
    del config.altub
    config.train.update(epochs=0.0, stage_two_epoch=0.0, positions=0, keep="last")
    if "paper" in words.presets or (paper and "default" not in words.presets):
        config.scoring.protocol = "paper"
    backbone = words.backbone or ("wide_resnet50_2" if paper else None)
    if backbone in BACKBONES:
        config.backbone.name, config.backbone.taps = BACKBONES[backbone]
        config.backbone.source = "cache"  # put there by `python -m hgad_jax.backbones fetch NAME`
    return config
