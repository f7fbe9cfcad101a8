import numpy as np
import pytest
from dataset_trees import load, mvtec_3d_rgb, pack, shrink

from hgad_jax.data.datasets.mvtec_3d_rgb import PUBLISHED
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import image_name
from hgad_jax.data.transforms import load_mask


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch, "mvtec_3d_rgb")


def test_published_counts_are_those_of_the_paper():
    train, good, defective = np.sum(list(PUBLISHED.values()), axis=0)
    validation = 294
    assert (train, good, defective) == (2656, 249, 948)
    assert train + validation + good + defective == 4147
    names = "bagel cable_gland carrot cookie dowel foam peach potato rope tire"
    assert tuple(PUBLISHED) == tuple(names.split())


@pytest.mark.parametrize("packed", [False, True])
def test_colour_images_without_the_validation_split(tmp_path, packed):
    root = mvtec_3d_rgb(tmp_path / "tree")
    if packed:
        archive = pack(root, tmp_path / "root" / "mvtec_3d_anomaly_detection.tar.xz")
        root = archive.parent
    dataset = load("mvtec_3d_rgb", root, tmp_path / "prepared")
    assert dataset.classes == ("bagel", "cable_gland")
    assert [image_name(r.path) for r in dataset.train] == [
        f"mvtec_3d_rgb/{name}/train/good/rgb/{i:03}.png" for name in dataset.classes for i in range(2)
    ]
    tests = [(image_name(r.path), r.defect, r.mask is not None) for r in dataset.test]
    assert tests == [
        ("mvtec_3d_rgb/bagel/test/good/rgb/000.png", "good", False),
        ("mvtec_3d_rgb/bagel/test/hole/rgb/000.png", "hole", True),
        ("mvtec_3d_rgb/bagel/test/hole/rgb/001.png", "hole", True),
        ("mvtec_3d_rgb/cable_gland/test/good/rgb/000.png", "good", False),
        ("mvtec_3d_rgb/cable_gland/test/hole/rgb/000.png", "hole", True),
    ]


def test_masks_from_gt_with_any_value_but_zero(tmp_path):
    dataset = load("mvtec_3d_rgb", mvtec_3d_rgb(tmp_path / "tree"), tmp_path / "prepared")
    record = dataset.test[1]
    mask = load_mask(record.mask, Transform(4), image=record.path)
    np.testing.assert_array_equal(mask, np.repeat([[True, True, False, False]], 4, 0))
