"""HGAD on ShanghaiTech Campus: videos of twelve scenes in one model, every frame an image.

python -m pip install -e '.[stc]'     (decodes the training videos, once)
python train.py --config=configs/hgad_stc.py --config.data.root=DIR --workdir=runs/stc
python eval.py --workdir=runs/stc

DIR holds what its page offers, its archive or unpacked; docs/data.md has the page and the tree.
Of about 270,000 training frames the features take about 50 GB in the cache: --config.cache.dir=DIR chooses
the disk.
No figure of HGAD was published for it; CFLOW-AD's, with WideResNet-50-2, are an image / pixel AUROC of .726
/ .945, not reproduced here: the videos could not be had.
"""

from hgad_jax.config import experiments


def get_config(words=""):
    """The configuration; `words` is what follows the colon."""
    return experiments.get_config("hgad_stc", words)
