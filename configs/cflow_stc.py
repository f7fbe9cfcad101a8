"""CFLOW-AD on ShanghaiTech Campus, one model per class as published.

    python train.py --config=configs/cflow_stc.py:01 --config.data.root=DIR --workdir=runs/cflow_01
    python eval.py --workdir=runs/cflow_01

After the colon, in any order: a scene (01 … 12), without one all are pooled; a backbone:
wide_resnet50_2 (the default), resnet18, mobilenetv3_large or tf_efficientnet_lite0;
a preset: default, paper, text or altub; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Expected with WideResNet-50-2: image AUROC .726, pixel AUROC .945 (Gudovskiy et al. 2022). Not run here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("cflow_stc", words)
