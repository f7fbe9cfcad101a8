"""PatchCore on a folder of your own images.

    python train.py --config=configs/patchcore_folder.py --config.data.root=DIR --workdir=runs/patchcore
    python eval.py --workdir=runs/patchcore

After the colon a preset: default, paper. Several classes are pooled in one model;
`--config.data.class_name=NAME` takes one alone. The folder is as in `hgad_folder.py`. What a
bank reaches on four products, level by level: docs/measurements.md.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("patchcore_folder", words)
