"""FastFlow on BTAD, one model per class as published.

    python train.py --config=configs/fastflow_btad.py:01 --config.data.root=DIR --workdir=runs/fastflow_01
    python eval.py --workdir=runs/fastflow_01

After the colon, in any order: a class (01, 02 or 03), without one all are pooled; a backbone:
wide_resnet50_2 (the default), resnet18, deit, cait or tf_efficientnet_lite0;
a preset: default, paper or altub; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected with WideResNet-50-2: pixel AUROC .97, with `altub` .982 (Kim et al. 2022, best). Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("fastflow_btad", words)
