import numpy as np
import pytest
from dataset_trees import btad, load, pack, shrink

from hgad_jax.data.datasets.btad import PUBLISHED
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import image_name, read_image_file
from hgad_jax.data.transforms import image_size, load_image, load_mask


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch, "btad")


@pytest.fixture
def dataset(tmp_path):
    return load("btad", btad(tmp_path / "BTech_Dataset_transformed"), tmp_path / "prepared")


def test_published_counts_are_those_of_the_archive():
    assert [counts.train for counts in PUBLISHED.values()] == [400, 399, 1000]
    assert np.sum(list(PUBLISHED.values())) == 2540


def test_ok_is_good_and_ko_is_a_defect(dataset):
    assert dataset.classes == ("01", "02", "03")
    assert [r.defect for r in dataset.train] == ["good"] * 7
    found = [(image_name(r.path), r.defect, r.anomalous) for r in dataset.test]
    assert found == [
        ("btad/01/test/ko/0000.bmp", "ko", True),
        ("btad/01/test/ko/0001.bmp", "ko", True),
        ("btad/01/test/ok/0000.bmp", "good", False),
        ("btad/02/test/ko/0000.png", "ko", True),
        ("btad/02/test/ok/0000.png", "good", False),
        ("btad/03/test/ko/0000.bmp", "ko", True),
        ("btad/03/test/ok/0000.bmp", "good", False),
        ("btad/03/test/ok/0001.bmp", "good", False),
    ]


def test_bmp_beside_png_and_masks_without_suffix(dataset, tmp_path):
    signatures = {r.class_name: read_image_file(r.mask)[:2] for r in dataset.test if r.mask}
    assert signatures == {"01": b"\x89P", "02": b"\x89P", "03": b"BM"}
    assert all((r.mask is not None) == r.anomalous for r in dataset.test)
    for record in dataset.train + dataset.test:
        assert load_image(record.path, Transform(8)).shape == (8, 8, 3)


def test_the_non_square_class_keeps_its_mask_in_place(dataset):
    (record,) = [r for r in dataset.test if r.class_name == "03" and r.anomalous]
    assert image_size(record.path) == (12, 16)
    mask = load_mask(record.mask, Transform(6), image=record.path)
    np.testing.assert_array_equal(mask, np.repeat([[True] * 3 + [False] * 3], 6, 0))


def test_the_zip_that_is_offered(dataset, tmp_path):
    pack(
        tmp_path / "BTech_Dataset_transformed",
        tmp_path / "root" / "btad.zip",
        top="BTech_Dataset_transformed",
    )
    packed = load("btad", tmp_path / "root", tmp_path / "other")
    assert [r.path.source.fingerprint for r in packed.train] == [
        r.path.source.fingerprint for r in dataset.train
    ]
