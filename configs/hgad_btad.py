"""HGAD on BTAD: three products in one model.

python train.py --config=configs/hgad_btad.py --config.data.root=DIR --workdir=runs/btad
python eval.py --workdir=runs/btad

DIR holds what its page offers, its archive or unpacked; docs/data.md has the page, the tree and the
licence.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .949 / .980. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(--config=configs/hgad_btad.py:paper has the published ones, as far as the backbone allows).
"""

from configs import default


def get_config(preset="default"):
    """Default keys, on BTAD."""
    config = default.get_config(preset)
    config.data.name = "btad"
    return config
