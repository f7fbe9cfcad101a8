"""FastFlow on MVTec AD, one model per class as published.

    python train.py --config=configs/fastflow_mvtec_ad.py:screw --config.data.root=DIR --workdir=runs/screw
    python eval.py --workdir=runs/screw

After the colon, in any order: a class (bottle … zipper), without one all are pooled; a backbone:
wide_resnet50_2 (the default), resnet18, deit, cait or tf_efficientnet_lite0;
a preset: default, paper or altub; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected, mean over classes: pixel AUROC .983 with WideResNet-50-2, .972 ResNet-18, .981 DeiT, .983 CaiT
(gathierry/FastFlow, best of 500 epochs); with `altub` .988 with the best backbone per class (Kim et al. 2022,
Table 1). Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("fastflow_mvtec_ad", words)
