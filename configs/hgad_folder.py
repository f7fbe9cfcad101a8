"""HGAD on a folder of your own images, one class or many, in one model.

    python -m hgad_jax.data check DIR
    python train.py --config=configs/hgad_folder.py --config.data.root=DIR --workdir=runs/mine
    python eval.py --workdir=runs/mine

DIR/<class>/train/good/* are good images; DIR/<class>/test/<good or a defect>/* and
DIR/<class>/ground_truth/<defect>/<stem>_mask.png are for testing and may be absent. Other layouts, large
images, images of unknown classes: docs/folders.md.
"""

from configs import default


def get_config(preset="default"):
    """Default keys, on `config.data.root`."""
    return default.get_config(preset)
