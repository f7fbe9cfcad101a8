"""HGAD on MVTec AD: ten objects and five textures in one model.

python train.py --config=configs/hgad_mvtec_ad.py --config.data.root=DIR --workdir=runs/mvtec_ad
python eval.py --workdir=runs/mvtec_ad

DIR holds what its page offers, its archive (or one for each class) or unpacked; docs/data.md has the page,
the tree and the licence.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .984 / .979. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(configs/hgad_mvtec_ad.py:paper has the published ones; its weights are fetched with
`python -m hgad_jax.backbones fetch tf_efficientnet_b6.aa_in1k`).
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_mvtec_ad", words)
