"""HGAD on the union of MVTec AD, BTAD, MVTec 3D-AD and VisA: 40 classes in one model.

python train.py --config=configs/hgad_union.py --config.data.root=DIR --workdir=runs/union
python eval.py --workdir=runs/union

DIR holds the folders mvtec_ad, btad, mvtec_3d_rgb and visa, each with what its page offers, the archive or
unpacked; docs/data.md has the pages, the trees and the licences.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .935 / .975. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(--config=configs/hgad_union.py:paper has the published ones, as far as the backbone allows).
"""

from configs import default


def get_config(preset="default"):
    """Default keys, on the union of MVTec AD, BTAD, MVTec 3D-AD and VisA."""
    config = default.get_config(preset)
    config.data.name = "union"
    return config
