"""U-FLOW, CFLOW-AD without its condition, on MVTec AD, one model per class as published.

    python train.py --config=configs/uflow_mvtec_ad.py:screw --config.data.root=DIR --workdir=runs/uflow_screw
    python eval.py --workdir=runs/uflow_screw

After the colon, in any order: a class (bottle … zipper), without one all are pooled; a backbone:
wide_resnet50_2 (the default), resnet18, mobilenetv3_large or tf_efficientnet_lite0;
a preset: default, paper, text or altub; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected with WideResNet-50-2 at 512 px: pixel AUROC .969 (Gudovskiy et al. 2022, Table 2). Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("uflow_mvtec_ad", words)
