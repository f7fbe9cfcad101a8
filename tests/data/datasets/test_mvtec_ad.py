import re

import numpy as np
import pytest
from dataset_trees import load, mvtec_ad, pack, shrink
from PIL import Image

from hgad_jax.data import fingerprint
from hgad_jax.data.datasets.mvtec_ad import PUBLISHED, MVTecAD
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import image_name, read_image_file
from hgad_jax.data.transforms import load_image, load_mask
from hgad_jax.errors import UserError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch, "mvtec_ad")


@pytest.fixture
def tree(tmp_path):
    return mvtec_ad(tmp_path / "download" / "mvtec_anomaly_detection")


def described(records):
    return [
        (image_name(r.path).removeprefix("mvtec_ad/"), r.class_name, r.split, r.defect, r.mask is not None)
        for r in records
    ]


def contents(dataset):
    records = dataset.train + dataset.test
    masks = [r.mask and read_image_file(r.mask) for r in records]
    return described(records), [read_image_file(r.path) for r in records], masks


def test_published_counts_are_those_of_the_paper():
    train, good, defective = np.sum(list(PUBLISHED.values()), axis=0)
    assert (len(PUBLISHED), train, good + defective) == (15, 3629, 1725)
    names = (
        "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor "
        "wood zipper"
    )
    assert tuple(PUBLISHED) == tuple(names.split())


def test_classes_splits_defects_and_masks(tree, tmp_path):
    dataset = load("mvtec_ad", tree, tmp_path / "prepared")
    assert dataset.name == "mvtec_ad"
    assert dataset.classes == ("bottle", "grid", "zipper")
    assert described(dataset.train)[:4] == [
        ("bottle/train/good/000.png", "bottle", "train", "good", False),
        ("bottle/train/good/001.png", "bottle", "train", "good", False),
        ("bottle/train/good/002.png", "bottle", "train", "good", False),
        ("grid/train/good/000.png", "grid", "train", "good", False),
    ]
    assert described(dataset.test)[:5] == [
        ("bottle/test/bent/000.png", "bottle", "test", "bent", True),
        ("bottle/test/bent/001.png", "bottle", "test", "bent", True),
        ("bottle/test/broken_large/000.png", "bottle", "test", "broken_large", True),
        ("bottle/test/good/000.png", "bottle", "test", "good", False),
        ("grid/test/bent/000.png", "grid", "test", "bent", True),
    ]


def test_what_is_stored_are_the_files_bytes(tree, tmp_path):
    dataset = load("mvtec_ad", tree, tmp_path / "prepared")
    for record in dataset.train + dataset.test:
        path = tree / image_name(record.path).removeprefix("mvtec_ad/")
        assert read_image_file(record.path) == path.read_bytes()
        if record.mask:
            mask = tree / record.class_name / "ground_truth" / record.defect / f"{path.stem}_mask.png"
            assert read_image_file(record.mask) == mask.read_bytes()


def test_grey_images_among_colour_ones(tree, tmp_path):
    dataset = load("mvtec_ad", tree, tmp_path / "prepared")
    for record in dataset.train:
        image = load_image(record.path, Transform(8))
        assert image.shape == (8, 8, 3)
        grey = (image == image[:, :, :1]).all()
        assert grey == (record.class_name != "bottle")
    mask = load_mask(dataset.test[0].mask, Transform(4), image=dataset.test[0].path)
    np.testing.assert_array_equal(mask, np.repeat([[True, True, False, False]], 4, 0))


@pytest.mark.parametrize(
    "offer",
    [
        "archive",
        "archive of a folder",
        "an archive for each class",
        "zip",
        "the folder above",
        "named folder",
    ],
)
def test_archives_and_folders_give_the_same(tree, tmp_path, offer):
    expected = load("mvtec_ad", tree, tmp_path / "expected")
    root = tmp_path / "root"
    if offer == "archive":
        pack(tree, root / "mvtec_anomaly_detection.tar.xz")
    elif offer == "archive of a folder":
        pack(tree, root / "mvtec_anomaly_detection.tar.gz", top="mvtec_anomaly_detection")
    elif offer == "an archive for each class":
        for folder in tree.iterdir():
            pack(folder, root / f"{folder.name}.tar.xz", top=folder.name)
    elif offer == "zip":
        pack(tree, root / "mvtec.zip", top="a/mvtec")
    elif offer == "the folder above":
        root = tree.parent
    else:
        tree.rename(tmp_path / "mvtec_ad")
        root = tmp_path
    dataset = load("mvtec_ad", root, tmp_path / "prepared")
    assert contents(dataset) == contents(expected)
    assert fingerprint(dataset.train) == fingerprint(expected.train)
    assert not list((tmp_path / "prepared").rglob("*.png")), "nothing unpacked is left"


def test_class_is_the_folder_below_the_root_whatever_the_root_is_called(tree, tmp_path):
    root = tmp_path / "zipper" / "train" / "good" / "bottle"
    root.parent.mkdir(parents=True)
    tree.rename(root)
    dataset = load("mvtec_ad", root, tmp_path / "prepared")
    assert [r.class_name for r in dataset.train] == ["bottle"] * 3 + ["grid"] * 2 + ["zipper"] * 2


def test_other_counts_are_refused_with_all_that_differs(tree, tmp_path):
    (tree / "bottle" / "train" / "good" / "001.png").unlink()
    (tree / "grid" / "test" / "good" / "000.png").unlink()
    with pytest.raises(UserError) as error:
        load("mvtec_ad", tree, tmp_path / "prepared")
    assert "bottle: 2 training images instead of 3" in str(error.value)
    assert "grid: 0 good test images instead of 1" in str(error.value)
    assert "zipper" not in str(error.value)
    assert MVTecAD.spec.page in str(error.value)
    assert "--config.data.allow_partial=True" in str(error.value)
    assert not (tmp_path / "prepared" / "mvtec_ad" / "1.0.0").exists()


def test_a_partial_tree_is_used_when_allowed_and_never_silently(tree, tmp_path, caplog):
    (tree / "bottle" / "train" / "good" / "001.png").unlink()
    for name in ("000", "001"):
        (tree / "grid" / "train" / "good" / f"{name}.png").unlink()
    dataset = load("mvtec_ad", tree, tmp_path / "prepared", allow_partial=True)
    assert dataset.classes == ("bottle", "zipper")
    assert {r.class_name for r in dataset.test} == {"bottle", "zipper"}
    assert "bottle: 2 training images instead of 3" in caplog.text
    assert "without training images are left out: ['grid']" in caplog.text
    caplog.clear()
    load("mvtec_ad", tree, tmp_path / "prepared", allow_partial=True)
    assert "bottle: 2 training images instead of 3" in caplog.text, "also when it was prepared before"
    with pytest.raises(UserError, match=r"(?s)differs from the published.*bottle: 2 training.*allow_partial"):
        load("mvtec_ad", tree, tmp_path / "prepared")


@pytest.mark.parametrize("allow_partial", [False, True])
def test_masks_of_a_class_are_all_or_none(tree, tmp_path, allow_partial):
    (tree / "bottle" / "ground_truth" / "bent" / "001_mask.png").unlink()
    with pytest.raises(UserError, match=r"1 defective images have no mask.*bottle/test/bent/001\.png"):
        load("mvtec_ad", tree, tmp_path / "prepared", allow_partial=allow_partial)


def test_a_class_without_masks_is_a_difference(tree, tmp_path):
    for path in (tree / "grid" / "ground_truth").rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="grid: no masks"):
        load("mvtec_ad", tree, tmp_path / "prepared")
    dataset = load("mvtec_ad", tree, tmp_path / "prepared", allow_partial=True)
    assert all(r.mask is None for r in dataset.test if r.class_name == "grid")


def test_another_folder_shows_what_was_expected(tmp_path):
    (tmp_path / "root" / "holiday").mkdir(parents=True)
    Image.new("L", (2, 2)).save(tmp_path / "root" / "holiday" / "beach.png")
    with pytest.raises(UserError) as error:
        load("mvtec_ad", tmp_path / "root", tmp_path / "prepared")
    for pattern in (
        "does not hold MVTec AD: found 'holiday'",
        re.escape(MVTecAD.spec.page),
        "CC BY-NC-SA 4.0",
        "<class>/train/good",
    ):
        assert re.search(pattern, str(error.value))


@pytest.mark.parametrize("allowed", [False, True])
def test_links_that_leave_the_folder_need_permission(tree, tmp_path, allowed):
    (tree / "bottle").rename(tmp_path / "elsewhere")
    (tree / "bottle").symlink_to(tmp_path / "elsewhere")
    if allowed:
        dataset = load("mvtec_ad", tree, tmp_path / "prepared", follow_links=True)
        assert len(dataset.train) == 7
    else:
        with pytest.raises(UserError, match=r"leads to '.*elsewhere.*follow_links=True"):
            load("mvtec_ad", tree, tmp_path / "prepared")
