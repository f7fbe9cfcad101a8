"""SPADE on MVTec AD, one model per class as published.

    python train.py --config=configs/spade_mvtec_ad.py:screw --config.data.root=DIR --workdir=runs/spade_screw
    python eval.py --workdir=runs/spade_screw

After the colon, in any order: a class (bottle … zipper), without one all are pooled; a backbone:
wide_resnet50_2 (the default) or tf_efficientnet_lite0;
a preset: default, paper; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected with WideResNet-50-2: image AUROC .855, pixel AUROC .960, AUPRO .917 (as cited by Gudovskiy et al.
2022). Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("spade_mvtec_ad", words)
