"""Small folders of images in the layout of `hgad_jax.data.folder`, and a config that trains in seconds."""

import functools
import sys
from pathlib import Path

import ml_collections
import numpy as np
import skimage.data
import stub_backbone
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where the scripts and configs are

from hgad_jax.config import get_config  # noqa: E402

# Before a script's path: it then knows the backbone of `TINY`.
PYTHON = [sys.executable, str(Path(stub_backbone.__file__))]

TEXTURES = {"brick": skimage.data.brick, "grass": skimage.data.grass, "gravel": skimage.data.gravel}
SIDE = 64  # pixels of every image


@functools.cache
def texture(name: str) -> np.ndarray:
    return TEXTURES[name]()


def crop(name: str, rng: np.random.Generator) -> np.ndarray:
    whole = texture(name)
    y, x = rng.integers(0, np.subtract(whole.shape, SIDE))
    return whole[y : y + SIDE, x : x + SIDE].copy()


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def add_class(
    root: Path, name: str, *, good: int = 12, test: int = 3, masks: bool = True, seed: int = 0
) -> Path:
    """`good` training images and `test` of both good and defective ones, with a bright square as defect."""
    rng = np.random.default_rng([seed, *name.encode()])
    folder = root / name
    for i in range(good):
        save(folder / "train" / "good" / f"{i:02}.png", crop(name, rng))
    for i in range(test):
        save(folder / "test" / "good" / f"{i}.png", crop(name, rng))
        image, mask = crop(name, rng), np.zeros((SIDE, SIDE), np.uint8)
        y, x = rng.integers(8, 32, 2)
        image[y : y + 20, x : x + 20], mask[y : y + 20, x : x + 20] = 255, 255
        save(folder / "test" / "square" / f"{i}.png", image)
        if masks:
            save(folder / "ground_truth" / "square" / f"{i}_mask.png", mask)
    return folder


TINY = {
    "data.image_size": 64,
    "data.workers": 0,
    "backbone.name": stub_backbone.NAME,
    "backbone.source": stub_backbone.WEIGHTS,
    "backbone.taps": ("blocks.2", "blocks.4"),
    "bank.taps": ("blocks.4",),
    "bank.size": 40,
    "bank.candidates": 400,
    "bank.projection": 16,
    "scoring.evidence": (),
    "detector.num_blocks": 2,
    "detector.condition_channels": 8,
    "detector.regions": 4,
    "detector.num_centres": 2,
    "train.epochs": 4.0,
    "train.stage_two_epoch": 2.0,
    "train.batch_size": 8,
    "train.positions": 16,
    "train.micro_batches": 1,
    "train.log_every": 1,
    "train.checkpoint_every": 4,
    "calibration.min_images": 4,
    "scoring.batch_size": 4,
}
LITE0 = {"backbone__name": "tf_efficientnet_lite0", "backbone__source": "auto"}  # changes of `tiny_config`


def tiny_config(root: Path, cache: Path | str = "", **changes) -> ml_collections.ConfigDict:
    """The default config made tiny; changes as `train__epochs=1.0`."""
    config = get_config("hgad_folder")
    settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    config.update_from_flattened_dict({"data.root": str(root), "cache.dir": str(cache)} | settings)
    return config
