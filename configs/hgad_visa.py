"""HGAD on VisA: twelve products in one model.

python train.py --config=configs/hgad_visa.py --config.data.root=DIR --workdir=runs/visa
python eval.py --workdir=runs/visa

DIR holds what its page offers, its archive or unpacked; docs/data.md has the page, the tree and the
licence.
Published, with EfficientNet-B6 at 1024 pixels: mean image / pixel AUROC .971 / .989. Not reproduced here:
these images may not be handed on, and the default settings here are other ones
(configs/hgad_visa.py:paper has the published ones; its weights are fetched with
`python -m hgad_jax.backbones fetch tf_efficientnet_b6.aa_in1k`).
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_visa", words)
