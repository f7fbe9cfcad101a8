import pickle
import shutil

import pytest
from dataset_trees import load, mvtec_ad, shrink
from PIL import Image

from hgad_jax.data.records import (
    Dataset,
    Record,
    build_dataset,
    fingerprint,
    image_name,
    open_image_file,
    read_image_file,
)
from hgad_jax.data.split import hold_out
from hgad_jax.errors import UserError


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    shrink(monkeypatch, "mvtec_ad")
    return load("mvtec_ad", mvtec_ad(tmp_path / "tree"), tmp_path / "prepared")


def test_files_and_stored_images_are_opened_alike(dataset, tmp_path):
    stored = dataset.train[0].path
    path = str(tmp_path / "tree" / "bottle" / "train" / "good" / "000.png")
    assert read_image_file(stored) == read_image_file(path)
    with open_image_file(stored) as file, open_image_file(path) as other:
        assert file.read() == other.read()
    assert image_name(stored) == "mvtec_ad/bottle/train/good/000.png"
    assert image_name(path) == path


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png' cannot be read: No such file"):
        read_image_file(str(tmp_path / "gone.png"))


def test_stored_records_are_cheap_to_pickle(dataset):
    pickled = pickle.dumps(dataset)
    assert pickle.loads(pickled) == dataset
    one, many = pickle.dumps(dataset.train[:1]), pickle.dumps(dataset.train)
    assert len(many) - len(one) < 200 * (len(dataset.train) - 1)


def test_fingerprint_of_stored_images(dataset, tmp_path, monkeypatch):
    before = fingerprint(dataset.train)
    assert before != fingerprint(dataset.train[::-1])
    assert before != fingerprint(dataset.train[1:])
    moved = shutil.move(tmp_path / "prepared", tmp_path / "moved")
    assert fingerprint(load("mvtec_ad", tmp_path / "tree", moved).train) == before, "wherever it lies"
    changed = tmp_path / "tree" / "zipper" / "test" / "good" / "000.png"
    Image.new("L", (12, 8)).save(changed)
    assert fingerprint(load("mvtec_ad", tmp_path / "tree", tmp_path / "anew").train) != before


def test_stored_images_are_held_out_as_files_are(dataset, tmp_path):
    files = [
        record._replace(path=str(tmp_path / "tree" / image_name(record.path).removeprefix("mvtec_ad/")))
        for record in dataset.train * 2
    ]
    records = [record._replace(class_name="all") for record in dataset.train * 2]
    options = {"fraction": 0.3, "min_images": 2, "seed": 0}
    assert hold_out(records, **options) == hold_out([f._replace(class_name="all") for f in files], **options)


def test_classes_keep_the_order_of_the_dataset():
    records = [Record(f"{name}.png", name, "train", "good") for name in ("b", "a")]
    built = build_dataset("x", records, good_folders={"b": "", "a": ""})
    assert built == Dataset("x", ("b", "a"), tuple(records), ())
