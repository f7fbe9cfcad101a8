"""HGAD on ELPV: electroluminescence images of solar cells, mono- and polycrystalline in one model.

python train.py --config=configs/hgad_elpv.py --workdir=runs/elpv
python eval.py --workdir=runs/elpv

No published figure. Reached here with seed 0: mean image AUROC .938 (docs/measurements.md).
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_elpv", words)
