"""CFLOW-AD on a folder of your own images.

    python train.py --config=configs/cflow_folder.py --config.data.root=DIR --workdir=runs/cflow
    python eval.py --workdir=runs/cflow

After the colon a preset: default, paper, text or altub. Several classes are pooled in one model;
`--config.data.class_name=NAME` takes one alone. The folder is as in `hgad_folder.py`. What it reached
on the magnetic tile set, beside the others: docs/detectors.md.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("cflow_folder", words)
