"""PaDiM: keys, presets and backbones that the configs `padim_*.py` share.

Presets: `default` and `paper` (Defard et al., 2020: published scores, smoothed maps).
"""

import ml_collections

from configs import default
from configs.arguments import CLASSES, parse

# name, taps, channels kept
BACKBONES = {
    "resnet18": ("resnet18.tv_in1k", ("layer1", "layer2", "layer3"), 100),
    "wide_resnet50_2": ("wide_resnet50_2.tv_in1k", ("layer1", "layer2", "layer3"), 550),
}


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
    detector.name = "padim"
    detector.dimensions = 100  # channels kept, drawn from those of all levels; all if there are fewer
    detector.regularization = 0.01  # added to every variance
    config.loss = ml_collections.ConfigDict()
    del config.altub
    config.train.update(epochs=0.0, stage_two_epoch=0.0, positions=0, keep="last")
    if "paper" in words.presets or (paper and "default" not in words.presets):
        config.scoring.protocol = "paper"
    backbone = words.backbone or ("wide_resnet50_2" if paper else None)
    if backbone in BACKBONES:
        config.backbone.name, config.backbone.taps, detector.dimensions = BACKBONES[backbone]
        config.backbone.source = "cache"  # put there by `python -m hgad_jax.backbones fetch NAME`
    return config
