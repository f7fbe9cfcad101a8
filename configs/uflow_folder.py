"""U-FLOW, CFLOW-AD without its condition, on a folder of your own images.

    python train.py --config=configs/uflow_folder.py --config.data.root=DIR --workdir=runs/uflow
    python eval.py --workdir=runs/uflow

After the colon a preset: default, paper or altub. Several classes are pooled in one model;
`--config.data.class_name=NAME` takes one alone. The folder is as in `hgad_folder.py`. What it reached
on the magnetic tile set, beside the others: docs/detectors.md.
"""

from configs import cflow


def get_config(argument=""):
    """The configuration; `argument` is what follows the colon."""
    return cflow.get_config(argument, dataset="folder", condition=False)
