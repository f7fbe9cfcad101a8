"""HGAD on MVTec AD: ten objects and five textures in one model.

python train.py --config=configs/hgad_mvtec_ad.py --config.data.root=DIR --workdir=runs/mvtec_ad
python eval.py --workdir=runs/mvtec_ad

DIR holds what its page offers, its archive (or one for each class) or unpacked; docs/data.md has the page,
the tree and the licence.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .984 / .979. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(--config=configs/hgad_mvtec_ad.py:paper has the published ones, as far as the backbone allows).
"""

from configs import default


def get_config(preset="default"):
    """Default keys, on MVTec AD."""
    config = default.get_config(preset)
    config.data.name = "mvtec_ad"
    return config
