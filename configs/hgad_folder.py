"""HGAD on a folder of your own images, one class or many, in one model.

    python -m hgad_jax.data check DIR
    python train.py --config=configs/hgad_folder.py --config.data.root=DIR --workdir=runs/mine
    python eval.py --workdir=runs/mine

DIR/<class>/train/good/* are good images; DIR/<class>/test/<good or a defect>/* and
DIR/<class>/ground_truth/<defect>/<stem>_mask.png are for testing and may be absent. Other layouts, large
images, images of unknown classes: docs/folders.md.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_folder", words)
