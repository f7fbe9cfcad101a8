import collections
import importlib.util

import pytest

from hgad_jax.data import elpv
from hgad_jax.errors import UserError


@pytest.fixture
def installed():
    pytest.importorskip("elpv_dataset")


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """A folder in place of the installed package's data; returns a function that writes its labels."""
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(elpv, "_data_folder", lambda: str(tmp_path))

    def write(lines):
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
        for line in lines:
            (tmp_path / line.split()[0]).touch()
        return tmp_path

    return write


def counts(records):
    return collections.Counter((record.class_name, record.defect) for record in records)


def test_protocol_counts(installed):
    dataset = elpv.load()
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


def test_splits_do_not_share_images_and_depend_on_the_seed_alone(installed):
    first, again, other = elpv.load(), elpv.load(split_seed=0), elpv.load(split_seed=1)
    assert first == again
    paths = [record.path for record in first.train + first.test]
    assert len(set(paths)) == len(paths)
    assert {r.path for r in first.train} != {r.path for r in other.train}
    assert counts(first.train) == counts(other.train)


def test_split_is_the_same_on_every_machine():
    images = [(f"images/cell{i:04}.png", "good") for i in range(10)]
    test = [name for name, split, _ in elpv._split(images, 0) if split == "test"]
    assert test == ["images/cell0000.png", "images/cell0008.png"]


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'hgad_jax\[elpv\]'"):
        elpv.load()


def test_other_counts_are_refused_with_what_differs(fake_package):
    fake_package(["images/a.png 0.0 mono", "images/b.png 0.3333333333333333 mono"])
    with pytest.raises(UserError, match=r"good mono: 1 instead of 588.*pip install") as error:
        elpv.load()
    assert "defective poly: 0 instead of 402" in str(error.value)


def test_missing_image_is_named(fake_package, monkeypatch):
    folder = fake_package(["images/a.png 0.0 mono", "images/b.png 1.0 mono"])
    monkeypatch.setattr(elpv, "EXPECTED_COUNTS", {("mono", "good"): 1, ("mono", "defective"): 1})
    (folder / "images" / "b.png").unlink()
    with pytest.raises(UserError, match=r"1 images are missing, 'images/b.png'.*pip install"):
        elpv.load()


@pytest.mark.parametrize("line", ["images/a.png 0.0", "images/a.png often mono"])
def test_unreadable_labels_are_refused(fake_package, line):
    fake_package([line])
    with pytest.raises(UserError, match=r"labels\.csv.*pip install"):
        elpv.load()


def test_licence_is_shown(installed, monkeypatch):
    shown = []
    monkeypatch.setattr(elpv.logging, "log_first_n", lambda level, message, n: shown.append((message, n)))
    elpv.load()
    assert len(shown) == 1
    assert "CC BY-NC-SA 4.0" in shown[0][0]
    assert shown[0][1] == 1
