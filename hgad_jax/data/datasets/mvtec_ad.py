"""MVTec AD: 5,354 images of ten objects and five textures, defects outlined."""

import os

from hgad_jax.data.datasets.builder import ImageDataset
from hgad_jax.data.datasets.items import Counts, Item, files, folders, name_below, stem
from hgad_jax.data.datasets.spec import Spec, compare_with
from hgad_jax.data.records import GOOD

PUBLISHED = {
    "bottle": Counts(209, 20, 63),
    "cable": Counts(224, 58, 92),
    "capsule": Counts(219, 23, 109),
    "carpet": Counts(280, 28, 89),
    "grid": Counts(264, 21, 57),
    "hazelnut": Counts(391, 40, 70),
    "leather": Counts(245, 32, 92),
    "metal_nut": Counts(220, 22, 93),
    "pill": Counts(267, 26, 141),
    "screw": Counts(320, 41, 119),
    "tile": Counts(230, 33, 84),
    "toothbrush": Counts(60, 12, 30),
    "transistor": Counts(213, 60, 40),
    "wood": Counts(247, 19, 60),
    "zipper": Counts(240, 32, 119),
}
_SUFFIXES = (".png",)


def _is_dataset(folder: str) -> bool:
    return any(os.path.isdir(os.path.join(folder, name, "train", GOOD)) for name in PUBLISHED)


def _items(folder: str) -> list[Item]:
    return [item for name in PUBLISHED for item in _class_items(folder, name)]


def _class_items(root: str, class_name: str) -> list[Item]:
    """List a class: its training images, then its test images defect by defect."""
    folder = os.path.join(root, class_name)
    items = []
    for split, defects in (
        ("train", [os.path.join(folder, "train", GOOD)]),
        ("test", folders(os.path.join(folder, "test"))),
    ):
        for path in defects:
            defect = os.path.basename(path)
            masks = os.path.join(folder, "ground_truth", defect)
            for image in files(path, _SUFFIXES):
                mask = os.path.join(masks, f"{stem(image)}_mask.png")
                found = mask if defect != GOOD and os.path.isfile(mask) else None
                items.append(Item(name_below(root, image), class_name, split, defect, image, found))
    return items


class MVTecAD(ImageDataset):
    """MVTec AD, grey images (grid, screw, zipper) among colour ones."""

    name = "mvtec_ad"
    spec = Spec(
        title="MVTec AD",
        page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        licence="CC BY-NC-SA 4.0, not for commercial use",
        citation="""\
@inproceedings{bergmann2019mvtec,
  title={{MVTec AD} -- A Comprehensive Real-World Dataset for Unsupervised Anomaly Detection},
  author={Bergmann, Paul and Fauser, Michael and Sattlegger, David and Steger, Carsten},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year={2019}
}""",
        tree="""\
  <class>/train/good/*.png
  <class>/test/<good or a defect's name>/*.png
  <class>/ground_truth/<defect>/<image's name>_mask.png""",
        classes=tuple(PUBLISHED),
        is_dataset=_is_dataset,
        items=_items,
        problems=compare_with(PUBLISHED),
        suffixes=_SUFFIXES,
    )
