"""PatchCore on MVTec AD, one model per class as published.

    python train.py --config=configs/patchcore_mvtec_ad.py:screw --config.data.root=DIR --workdir=runs/screw
    python eval.py --workdir=runs/screw

After the colon, in any order: a class (bottle … zipper), without one all are pooled; a backbone:
wide_resnet50_2 (the default) or tf_efficientnet_lite0;
a preset: default, paper; without one, the published settings. The weights
of the papers' backbones are fetched with `python -m hgad_jax.backbones fetch NAME`.

Not run here. The preset differs from the published code in four points: docs/detectors.md.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("patchcore_mvtec_ad", words)
