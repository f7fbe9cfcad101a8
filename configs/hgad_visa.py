"""HGAD on VisA: twelve products in one model.

python train.py --config=configs/hgad_visa.py --config.data.root=DIR --workdir=runs/visa
python eval.py --workdir=runs/visa

DIR holds what its page offers, its archive or unpacked; docs/data.md has the page, the tree and the
licence.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .971 / .989. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(--config=configs/hgad_visa.py:paper has the published ones, as far as the backbone allows).
"""

from configs import default


def get_config(preset="default"):
    """Default keys, on VisA."""
    config = default.get_config(preset)
    config.data.name = "visa"
    return config
