"""BTAD (beanTech): 2,540 images of three products; `ok` and `ko`, bmp beside png."""

import os

from hgad_jax.data.datasets.builder import ImageDataset
from hgad_jax.data.datasets.items import Counts, Item, files, name_below, stem
from hgad_jax.data.datasets.spec import Spec, compare_with
from hgad_jax.data.records import GOOD

_DEFECTS = {"ok": GOOD, "ko": "ko"}
_SUFFIXES = (".bmp", ".png")

# As the archive holds them: papers swap the training images of 02 and 03, or count 2,830 in all.
PUBLISHED = {"01": Counts(400, 21, 49), "02": Counts(399, 30, 200), "03": Counts(1000, 400, 41)}


def _is_dataset(folder: str) -> bool:
    return any(os.path.isdir(os.path.join(folder, name, "train", "ok")) for name in PUBLISHED)


def _items(folder: str) -> list[Item]:
    return [item for name in PUBLISHED for item in _class_items(folder, name)]


def _class_items(root: str, class_name: str) -> list[Item]:
    folder = os.path.join(root, class_name)
    masks = {stem(path): path for path in files(os.path.join(folder, "ground_truth", "ko"), _SUFFIXES)}
    return [
        Item(
            name_below(root, image),
            class_name,
            split,
            _DEFECTS[label],
            image,
            masks.get(stem(image)) if label == "ko" else None,
        )
        for split, label in (("train", "ok"), ("test", "ko"), ("test", "ok"))
        for image in files(os.path.join(folder, split, label), _SUFFIXES)
    ]


class BTAD(ImageDataset):
    """BTAD, as its archive holds it or with its bmp files turned into png as some programs do."""

    name = "btad"
    spec = Spec(
        title="BTAD",
        page="https://github.com/pankajmishra000/VT-ADL",
        licence="CC BY-NC-SA 4.0 according to anomalib, not for commercial use",
        citation="""\
@inproceedings{mishra2021vtadl,
  title={{VT-ADL}: A Vision Transformer Network for Image Anomaly Detection and Localization},
  author={Mishra, Pankaj and Verk, Riccardo and Fornasier, Daniele and Piciarelli, Claudio
          and Foresti, Gian Luca},
  booktitle={IEEE International Symposium on Industrial Electronics},
  year={2021}
}""",
        tree="""\
  <01, 02 or 03>/train/ok/*
  <01, 02 or 03>/test/<ok or ko>/*
  <01, 02 or 03>/ground_truth/ko/<image's name>.png, or .bmp""",
        classes=tuple(PUBLISHED),
        is_dataset=_is_dataset,
        items=_items,
        problems=compare_with(PUBLISHED),
        suffixes=_SUFFIXES,
    )
