import codecs

import numpy as np
import pytest
from dataset_trees import load, mark, pack, shrink, visa

from hgad_jax.data.datasets.visa import PUBLISHED
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import image_name
from hgad_jax.data.transforms import load_mask
from hgad_jax.errors import UserError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    shrink(monkeypatch, "visa")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "VisA"


def test_published_counts_are_those_of_the_table():
    train, good, defective = np.sum(list(PUBLISHED.values()), axis=0)
    assert (train, good, defective) == (8659, 962, 1200)
    names = "candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"
    assert tuple(PUBLISHED) == tuple(names.split())


@pytest.mark.parametrize("packed", [False, True])
def test_the_table_splits_and_normal_ones_come_first(root, tmp_path, packed):
    visa(root)
    if packed:
        root = pack(root, tmp_path / "packed" / "VisA_20220922.tar").parent
    dataset = load("visa", root, tmp_path / "prepared")
    assert dataset.classes == ("candle", "pcb3")
    assert [image_name(r.path) for r in dataset.train] == [
        f"visa/{name}/Data/Images/Normal/{i:04}.JPG" for name in ("candle", "pcb3") for i in (1, 0)
    ]
    tests = [(image_name(r.path), r.defect, r.mask is not None) for r in dataset.test]
    assert tests == [
        ("visa/candle/Data/Images/Normal/0002.JPG", "good", False),
        ("visa/candle/Data/Images/Anomaly/000.JPG", "anomaly", True),
        ("visa/candle/Data/Images/Anomaly/001.JPG", "anomaly", True),
        ("visa/pcb3/Data/Images/Normal/0003.JPG", "good", False),
        ("visa/pcb3/Data/Images/Normal/0002.JPG", "good", False),
        ("visa/pcb3/Data/Images/Anomaly/000.JPG", "anomaly", True),
    ]


def test_a_table_that_a_windows_program_saved_again(root, tmp_path):
    visa(root)
    table = root / "split_csv" / "1cls.csv"
    table.write_bytes(codecs.BOM_UTF8 + table.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load("visa", root, tmp_path / "prepared").train) == 4


def test_masks_with_small_values_are_binarised_before_they_are_resized(root, tmp_path):
    visa(root)
    for number, value in enumerate((1, 7)):
        mark(root / "candle" / "Data" / "Masks" / "Anomaly" / f"{number:03}.png", value=value)
    dataset = load("visa", root, tmp_path / "prepared")
    for record in dataset.test[1:3]:
        mask = load_mask(record.mask, Transform(4), image=record.path)
        np.testing.assert_array_equal(mask, np.repeat([[True, True, False, False]], 4, 0))


def test_images_that_the_table_names_but_are_not_there_are_counted(root, tmp_path):
    visa(root)
    (root / "pcb3" / "Data" / "Images" / "Normal" / "0000.JPG").unlink()
    with pytest.raises(UserError, match="pcb3: 1 training images instead of 2"):
        load("visa", root, tmp_path / "prepared")


@pytest.mark.parametrize(
    "row",
    [
        ["candle", "test", "anomaly", "../secret.JPG", ""],
        ["candle", "test", "anomaly", "/etc/secret.JPG", ""],
        ["candle", "test", "anomaly", "candle/a.JPG", "candle/../../secret.png"],
        ["lamp", "test", "normal", "lamp/a.JPG", ""],
        ["candle", "train", "anomaly", "candle/a.JPG", ""],
        ["candle", "val", "normal", "candle/a.JPG", ""],
        ["candle", "test", "odd", "candle/a.JPG", ""],
        ["candle", "test", "normal"],
        ["candle", "test", "normal", "candle/a.JPG", "", "more"],
    ],
)
def test_rows_that_visa_does_not_have_are_refused(root, tmp_path, row):
    visa(root, rows=[row])
    with pytest.raises(UserError, match=r"1cls\.csv' is not VisA's table: it has the row"):
        load("visa", root, tmp_path / "prepared")


def test_another_header_is_refused(root, tmp_path):
    visa(root)
    table = root / "split_csv" / "1cls.csv"
    table.write_text(table.read_text().replace("object", "class", 1))
    with pytest.raises(UserError, match=r"is not VisA's table: it has the columns \['class'"):
        load("visa", root, tmp_path / "prepared")


def test_a_table_that_is_no_text_is_refused(root, tmp_path):
    visa(root)
    (root / "split_csv" / "1cls.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"1cls\.csv' cannot be read"):
        load("visa", root, tmp_path / "prepared")
