"""U-FLOW, CFLOW-AD without its condition, on ELPV, with a backbone that needs no download.

    python train.py --config=configs/uflow_elpv.py --workdir=runs/uflow_elpv
    python eval.py --workdir=runs/uflow_elpv

After the colon, in any order: mono or poly for a model of one class, without it both are pooled; a preset:
default, paper, altub. No published figure. Reached here: mean image AUROC .925
(docs/detectors.md).
"""

from configs import cflow


def get_config(argument=""):
    """The configuration; `argument` is what follows the colon."""
    return cflow.get_config(argument, dataset="elpv", condition=False)
