"""The default detector on a folder of your own images: `hgad_folder.py` by its short name.

python train.py --config=configs/folder.py --config.data.root=DIR --workdir=runs/mine
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_folder", words)
