"""The default detector on a folder of your own images: `hgad_folder.py` by its short name.

python train.py --config=configs/folder.py --config.data.root=DIR --workdir=runs/mine
"""

from configs.hgad_folder import get_config

__all__ = ["get_config"]
