"""HGAD's union: MVTec AD, BTAD, MVTec 3D-AD's colour images and VisA, 40 classes in one dataset.

Class ids are 0-14, 15-17, 18-27 and 28-39, in this order. The published code numbers the training images of
VisA from 0 but evaluates them as 28-39; here an image has one class, and a class one id.
"""

from collections.abc import Callable

from hgad_jax.data.records import Dataset

PARTS = ("mvtec_ad", "btad", "mvtec_3d_rgb", "visa")


def load(part: Callable[[str], Dataset]) -> Dataset:
    """Compose the union.

    Args:
        part: gives the dataset of a name in `PARTS`.
    """
    datasets = [part(name) for name in PARTS]
    classes = tuple(name for dataset in datasets for name in dataset.classes)
    if len(set(classes)) != len(classes):
        raise ValueError(f"two parts have a class of the same name: {classes}")
    train = tuple(record for dataset in datasets for record in dataset.train)
    test = tuple(record for dataset in datasets for record in dataset.test)
    return Dataset("union", classes, train, test)
