import codecs
import collections
import importlib.util

import pytest
from dataset_trees import load

from hgad_jax.data import prepare
from hgad_jax.data.datasets import elpv
from hgad_jax.data.records import image_name, read_image_file
from hgad_jax.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Where the installed package's images are stored, once for all tests."""
    pytest.importorskip("elpv_dataset")
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the user's; returns a function that writes its labels."""
    (tmp_path / "elpv" / "images").mkdir(parents=True)

    def write(lines):
        (tmp_path / "elpv" / "labels.csv").write_text("\n".join(lines) + "\n")
        for line in lines:
            (tmp_path / "elpv" / line.split()[0]).write_bytes(line.encode())
        return tmp_path / "elpv"

    return write


def counts(records):
    return collections.Counter((record.class_name, record.defect) for record in records)


def test_protocol_counts(prepared):
    dataset = load("elpv", "", prepared)
    assert dataset.name == "elpv"
    assert dataset.classes == ("mono", "poly")
    assert counts(dataset.train) == {("mono", "good"): 470, ("poly", "good"): 736}
    assert counts(dataset.test) == {
        ("mono", "good"): 118,
        ("mono", "defective"): 313,
        ("poly", "good"): 184,
        ("poly", "defective"): 402,
    }
    assert all(record.mask is None for record in dataset.test)
    assert counts(dataset.train + dataset.test) == elpv.EXPECTED_COUNTS


def test_images_are_the_packages_in_order_of_class_and_name(prepared):
    dataset = load("elpv", "", prepared)
    folder = elpv._package_folder()
    for split in (dataset.train, dataset.test):
        names = [(r.class_name, image_name(r.path).removeprefix("elpv/")) for r in split]
        assert names == sorted(names)
        for record, (_, name) in list(zip(split, names, strict=True))[::100]:
            with open(f"{folder}/{name}", "rb") as file:
                assert read_image_file(record.path) == file.read()


def test_splits_do_not_share_images_and_depend_on_the_seed_alone(prepared):
    first, again = load("elpv", "", prepared), load("elpv", "", prepared, split_seed=0)
    other = load("elpv", "", prepared, split_seed=1)
    assert first == again
    paths = [record.path for record in first.train + first.test]
    assert len(set(paths)) == len(paths)
    assert {r.path for r in first.train} != {r.path for r in other.train}
    assert counts(first.train) == counts(other.train)


def test_split_is_the_same_on_every_machine():
    names = [f"elpv/images/cell{i:04}.png" for i in range(10)]
    left = set(names) - set(elpv._training_names(names, 0))
    assert left == {"elpv/images/cell0000.png", "elpv/images/cell0008.png"}


def test_missing_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'hgad_jax\[elpv\]'"):
        load("elpv", "", tmp_path)


def test_a_folder_in_place_of_the_package(folder, tmp_path):
    lines = [
        "images/b.png 0.0 poly",
        "images/a.png 0.0 mono",
        "images/c.png 1.0 mono",
        "images/d.png 0.3 mono",
    ]
    root = folder(lines)
    dataset = load("elpv", root, tmp_path / "prepared", allow_partial=True)
    assert [image_name(r.path) for r in dataset.train] == ["elpv/images/a.png", "elpv/images/b.png"]
    assert [image_name(r.path) for r in dataset.test] == ["elpv/images/c.png"]
    assert read_image_file(dataset.test[0].path) == b"images/c.png 1.0 mono"


def test_once_prepared_neither_package_nor_folder_is_needed(folder, tmp_path, monkeypatch):
    root = folder(["images/a.png 0.0 mono", "images/b.png 0.0 poly"])
    options = {"allow_partial": True}
    first = load("elpv", root, tmp_path / "prepared", **options)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    root.rename(root.with_name("gone"))
    assert load("elpv", "", tmp_path / "prepared", **options) == first


def test_other_counts_are_refused_with_what_differs(folder, tmp_path):
    root = folder(["images/a.png 0.0 mono", "images/b.png 0.3333333333333333 mono"])
    with pytest.raises(UserError, match="good mono: 1 instead of 588") as error:
        load("elpv", root, tmp_path / "prepared")
    assert "defective poly: 0 instead of 402" in str(error.value)


def test_labels_that_a_windows_editor_saved_again(folder, tmp_path):
    root = folder(["images/a.png 0.0 mono", "images/b.png 0.0 poly"])
    path = root / "labels.csv"
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load("elpv", root, tmp_path / "prepared", allow_partial=True).train) == 2


def test_missing_image_is_named(folder, tmp_path):
    root = folder(["images/a.png 0.0 mono", "images/b.png 1.0 mono"])
    (root / "images" / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 images that labels\.csv names are missing: 'images/b.png'"):
        load("elpv", root, tmp_path / "prepared", allow_partial=True)


@pytest.mark.parametrize(
    "line",
    ["images/a.png 0.0", "images/a.png often mono", "images/a.png 0.0 thin", "../elpv/images/a.png 0.0 mono"],
)
def test_unreadable_labels_are_refused(folder, tmp_path, line):
    root = folder([line])
    with pytest.raises(UserError, match=r"labels\.csv' cannot be read as ELPV's labels.*pip install"):
        load("elpv", root, tmp_path / "prepared", allow_partial=True)


def test_licence_is_shown(prepared, caplog):
    prepare._show_licence.cache_clear()
    load("elpv", "", prepared)
    load("elpv", "", prepared)
    assert caplog.text.count("CC BY-NC-SA 4.0") == 1
