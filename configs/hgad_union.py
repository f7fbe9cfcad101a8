"""HGAD on the union of MVTec AD, BTAD, MVTec 3D-AD and VisA: 40 classes in one model.

python train.py --config=configs/hgad_union.py --config.data.root=DIR --workdir=runs/union
python eval.py --workdir=runs/union

DIR holds the folders mvtec_ad, btad, mvtec_3d_rgb and visa, each with what its page offers, the archive or
unpacked; docs/data.md has the pages, the trees and the licences.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .935 / .975. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(configs/hgad_union.py:paper has the published ones; its weights are fetched with
`python -m hgad_jax.backbones fetch tf_efficientnet_b6.aa_in1k`).
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_union", words)
