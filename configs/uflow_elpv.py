"""U-FLOW, CFLOW-AD without its condition, on ELPV, with a backbone that needs no download.

    python train.py --config=configs/uflow_elpv.py --workdir=runs/uflow_elpv
    python eval.py --workdir=runs/uflow_elpv

After the colon, in any order: mono or poly for a model of one class, without it both are pooled; a preset:
default, paper, text, altub. No published figure. Reached here: mean image AUROC .925
(docs/detectors.md).
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("uflow_elpv", words)
