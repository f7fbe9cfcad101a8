"""CFLOW-AD on MVTec AD, one model per class as published.

    python train.py --config=configs/cflow_mvtec_ad.py:screw --config.data.root=DIR --workdir=runs/cflow_screw
    python eval.py --workdir=runs/cflow_screw

After the colon, in any order: a class (bottle … zipper), without one all are pooled; a backbone:
wide_resnet50_2 (the default), resnet18, mobilenetv3_large or tf_efficientnet_lite0;
a preset: default, paper, text or altub; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected with WideResNet-50-2, mean over classes: image AUROC .983, pixel AUROC .986, AUPRO .946 (Gudovskiy et
al. 2022, Table 3, best of the test evaluations); with `altub` .984 and .987 (Kim et al. 2022, Table 1).
Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("cflow_mvtec_ad", words)
