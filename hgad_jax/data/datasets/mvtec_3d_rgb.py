"""MVTec 3D-AD, its colour images: ten products. The 3-D scans and the validation split are passed over."""

import os

from hgad_jax.data.datasets.builder import ImageDataset
from hgad_jax.data.datasets.items import Counts, Item, files, folders, name_below, stem
from hgad_jax.data.datasets.spec import Spec, compare_with
from hgad_jax.data.records import GOOD

PUBLISHED = {
    "bagel": Counts(244, 22, 88),
    "cable_gland": Counts(223, 21, 87),
    "carrot": Counts(286, 27, 132),
    "cookie": Counts(210, 28, 103),
    "dowel": Counts(288, 26, 104),
    "foam": Counts(236, 20, 80),
    "peach": Counts(361, 26, 106),
    "potato": Counts(300, 22, 92),
    "rope": Counts(298, 32, 69),
    "tire": Counts(210, 25, 87),
}
_SUFFIXES = (".png",)


def _is_dataset(folder: str) -> bool:
    return any(os.path.isdir(os.path.join(folder, name, "train", GOOD, "rgb")) for name in PUBLISHED)


def _items(folder: str) -> list[Item]:
    return [item for name in PUBLISHED for item in _class_items(folder, name)]


def _class_items(root: str, class_name: str) -> list[Item]:
    folder = os.path.join(root, class_name)
    items = []
    for split, defects in (
        ("train", [os.path.join(folder, "train", GOOD)]),
        ("test", folders(os.path.join(folder, "test"))),
    ):
        for path in defects:
            defect = os.path.basename(path)
            for image in files(os.path.join(path, "rgb"), _SUFFIXES):
                mask = os.path.join(path, "gt", f"{stem(image)}.png")
                found = mask if defect != GOOD and os.path.isfile(mask) else None
                items.append(Item(name_below(root, image), class_name, split, defect, image, found))
    return items


class MVTec3DRGB(ImageDataset):
    """MVTec 3D-AD without depth, as HGAD uses it."""

    name = "mvtec_3d_rgb"
    spec = Spec(
        title="MVTec 3D-AD",
        page="https://www.mvtec.com/company/research/datasets/mvtec-3d-ad",
        licence="CC BY-NC-SA 4.0, not for commercial use",
        citation="""\
@inproceedings{bergmann2022mvtec3d,
  title={The {MVTec 3D-AD} Dataset for Unsupervised {3D} Anomaly Detection and Localization},
  author={Bergmann, Paul and Jin, Xin and Sattlegger, David and Steger, Carsten},
  booktitle={International Conference on Computer Vision Theory and Applications},
  year={2022}
}""",
        tree="""\
  <class>/train/good/rgb/*.png
  <class>/test/<good or a defect's name>/rgb/*.png
  <class>/test/<defect>/gt/<image's name>.png""",
        classes=tuple(PUBLISHED),
        is_dataset=_is_dataset,
        items=_items,
        problems=compare_with(PUBLISHED),
        suffixes=_SUFFIXES,
    )
