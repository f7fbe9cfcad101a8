"""PatchCore on ELPV, with a backbone that needs no download.

    python train.py --config=configs/patchcore_elpv.py --workdir=runs/patchcore_elpv
    python eval.py --workdir=runs/patchcore_elpv

After the colon, in any order: mono or poly for a model of one class, without it both are pooled; a preset:
default, paper. No published figure, and none measured here.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("patchcore_elpv", words)
