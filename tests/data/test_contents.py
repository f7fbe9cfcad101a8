"""What images hold is read once, and again whenever a file may hold something else."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_trees import load, mvtec_ad, shrink

from hgad_jax.data import contents as module
from hgad_jax.data.contents import contents, key, of_labelled
from hgad_jax.data.records import Record, fingerprint
from hgad_jax.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    names = ["a.png", "größe.png", "with blank.png", os.fsdecode(b"caf\xe9.png")]
    for name in names:
        (folder / name).write_bytes(os.fsencode(name) * 100)
    return [str(folder / name) for name in names]


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Asks for contents, compares them with the files, and returns which were read."""
    reads, read = [], module.read_image_file
    monkeypatch.setattr(module, "read_image_file", lambda path: reads.append(path) or read(path))

    def ask(paths, directory=tmp_path / "cache", num_workers=2):
        reads.clear()
        assert contents(paths, directory, num_workers=num_workers) == [sha(path) for path in paths]
        return sorted(reads)

    return ask


@pytest.mark.parametrize("num_workers", [0, 2])
def test_read_once(asked, images, num_workers):
    assert asked(images, num_workers=num_workers) == sorted(images)
    assert asked(images[::-1], num_workers=num_workers) == []
    assert asked(images[:2] * 2) == []


def test_a_changed_file_is_read_again_whatever_its_size_and_time(asked, images):
    asked(images)
    before = os.stat(images[0])
    content = bytearray(Path(images[0]).read_bytes())
    content[5] ^= 1
    Path(images[0]).write_bytes(content)
    os.utime(images[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (os.stat(images[0]).st_size, os.stat(images[0]).st_mtime_ns) == (
        before.st_size,
        before.st_mtime_ns,
    )
    assert asked(images) == [images[0]]


def test_files_that_have_changed_names_are_read_again(asked, images, tmp_path):
    """As archives unpack them: of one size, at one time."""
    for path in images[:2]:
        Path(path).write_bytes(os.fsencode(path)[-5:] * 20)
        os.utime(path, ns=(0, 0))
    asked(images)
    shutil.move(images[0], tmp_path / "aside")
    shutil.move(images[1], images[0])
    shutil.move(tmp_path / "aside", images[1])
    assert asked(images) == sorted(images[:2])


def test_of_a_changed_file_only_the_newest_is_noted(asked, images, tmp_path):
    asked(images)
    for number in range(3):
        Path(images[0]).write_bytes(bytes(number + 1))
        asked(images[:1])
    assert len((tmp_path / "cache" / "contents.jsonl").read_text().splitlines()) == len(images)
    assert asked(images) == []


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]\n", b'["a", "b"]\n["c"', b"{}"])
def test_what_is_no_table_of_ours_is_made_anew(asked, images, tmp_path, content):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "contents.jsonl").write_bytes(content)
    assert asked(images) == sorted(images)
    assert asked(images) == []


def test_a_folder_that_cannot_be_written_costs_time_only(asked, images, tmp_path, monkeypatch):
    warned = []
    monkeypatch.setattr(module.logging, "warning", lambda message, *args: warned.append(message % args))
    (tmp_path / "file").touch()
    for _ in range(2):
        assert asked(images, directory=tmp_path / "file" / "cache") == sorted(images)
    assert len(warned) == 2
    assert "cannot be noted" in warned[0]


def test_a_file_that_is_gone_or_cannot_be_read_is_named(images, tmp_path):
    with pytest.raises(UserError, match=r"gone\.png' was listed"):
        contents([images[0], str(tmp_path / "gone.png")], tmp_path / "cache", num_workers=0)
    with pytest.raises(UserError, match=r"images' cannot be read"):
        contents([str(tmp_path / "images")], tmp_path / "cache", num_workers=0)


PROGRAM = """
import sys
from hgad_jax.data.contents import contents
for _ in range(50):
    found = contents(sys.argv[2:], sys.argv[1], num_workers=0)
print(*found)
"""


def test_two_runs_that_share_a_cache(images, tmp_path):
    runs = []
    for paths in (images[:2], images[2:]):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "cache"), *paths]
        runs.append(
            subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
        )
    assert [run.communicate()[0].split() for run in runs] == [
        [sha(path) for path in paths] for paths in (images[:2], images[2:])
    ]
    lines = (tmp_path / "cache" / "contents.jsonl").read_text().splitlines()
    assert {content for _, content in map(json.loads, lines)} <= {sha(path) for path in images}
    assert contents(images, tmp_path / "cache", num_workers=0) == [sha(path) for path in images]


def good(paths):
    return [Record(path, "nut", "train", "good") for path in paths]


def test_the_key_is_of_contents_and_their_order_and_not_of_places(images, tmp_path):
    place = {"directory": tmp_path / "cache", "num_workers": 0}
    before = key(good(images), **place)
    shutil.copytree(tmp_path / "images", tmp_path / "moved")
    moved = [path.replace("images", "moved") for path in images]
    assert key(good(moved), **place) == before
    os.utime(images[0])
    assert key(good(images), **place) == before
    assert key(good(images[::-1]), **place) != before
    assert key(good(images[1:]), **place) != before
    Path(images[0]).write_bytes(b"x" * os.stat(images[0]).st_size)
    assert key(good(images), **place) != before


def test_prepared_images_count_by_their_bytes(tmp_path, monkeypatch):
    shrink(monkeypatch, "mvtec_ad")
    tree = mvtec_ad(tmp_path / "tree")
    prepared = load("mvtec_ad", tree, tmp_path / "prepared")
    files = sorted(tree.glob("*/train/good/*.png"))
    found = contents([record.path for record in prepared.train], tmp_path / "cache", num_workers=0)
    assert sorted(found) == sorted(sha(path) for path in files)
    assert key(prepared.train, tmp_path / "nowhere", num_workers=0) == fingerprint(prepared.train)
    assert not (tmp_path / "nowhere").exists(), "nothing need be read"
    masks = of_labelled(prepared.test, tmp_path / "cache", num_workers=0)["masks"]
    assert all(masks.values())


def test_test_images_count_with_labels_and_masks_and_not_by_names_or_order(images, tmp_path):
    place = {"directory": tmp_path / "cache", "num_workers": 0}
    good, bad, mask, other = images
    records = [
        Record(good, "nut", "test", "good"),
        Record(bad, "nut", "test", "scratch", mask),
        Record(other, "bolt", "test", "good"),
    ]
    before = of_labelled(records, **place)
    assert list(before) == ["images", "masks"]
    assert before["masks"]["bolt"] is None
    renamed = [records[1]._replace(defect="dent"), records[0], records[2]]
    assert of_labelled(renamed, **place) == before
    other_label = [records[0]._replace(defect="scratch"), *records[1:]]
    changed = of_labelled(other_label, **place)
    assert changed["images"]["nut"] != before["images"]["nut"]
    assert changed["images"]["bolt"] == before["images"]["bolt"]
    assert changed["masks"] == before["masks"]
    Path(mask).write_bytes(b"another")
    changed = of_labelled(records, **place)
    assert changed["images"] == before["images"]
    assert changed["masks"]["nut"] != before["masks"]["nut"]
