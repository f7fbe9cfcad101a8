"""PatchCore on MVTec AD, one model per class as published.

    python train.py --config=configs/patchcore_mvtec_ad.py:screw --config.data.root=DIR --workdir=runs/screw
    python eval.py --workdir=runs/screw

After the colon, in any order: a class (bottle … zipper), without one all are pooled; a backbone:
wide_resnet50_2 (the default), resnet18 or tf_efficientnet_lite0;
a preset: default, paper; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected with WideResNet-50-2: pixel AUROC .975, AUPRO .921 (Gudovskiy et al. 2022, Table 3); with ResNet-18
image AUROC .891 and pixel AUROC .968 (anomalib's README). Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("patchcore_mvtec_ad", words)
