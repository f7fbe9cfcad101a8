"""A run knows its images by what they hold, and names those that are others."""

import os

import pytest
from trees import tiny_config

from hgad_jax.data import Dataset, Record
from hgad_jax.runs import images as run_images
from hgad_jax.runs.images import RunImage, changes, digests

BEFORE = [RunImage(kind, f"{kind}/{n}.png", f"{kind}{n}") for kind in ("nut", "bolt") for n in range(4)]


def changed(**contents):
    """`BEFORE` with other contents: `nut_1="x"`; None takes an image away."""
    names = {f"{key.replace('_', '/')}.png": value for key, value in contents.items()}
    images = [image._replace(content=names.get(image.name, image.content)) for image in BEFORE]
    return [image for image in images if image.content is not None]


def added(*names):
    images = [*BEFORE, *(RunImage(name.split("/")[0], name, f"new {name}") for name in names)]
    return sorted(images, key=lambda image: image.name)


CASES = {
    "replaced": (changed(nut_1="x", bolt_3="y"), ["2 images replaced: 'nut/1.png', 'bolt/3.png'"]),
    "replaced by a copy of another": (changed(nut_1="nut2"), ["1 images replaced: 'nut/1.png'"]),
    "removed": (changed(nut_0=None), ["1 images removed: 'nut/0.png'"]),
    "added": ([*BEFORE, RunImage("nut", "nut/9.png", "x")], ["1 images added: 'nut/9.png'"]),
    "a copy added": ([*BEFORE, RunImage("nut", "nut/9.png", "nut1")], ["1 images added: 'nut/9.png'"]),
    "replaced, removed and added": (
        [*changed(nut_0=None, nut_2="x"), RunImage("bolt", "bolt/9.png", "y")],
        ["1 images replaced: 'nut/2.png'", "1 images removed: 'nut/0.png'", "1 images added: 'bolt/9.png'"],
    ),
    "swapped": (
        changed(nut_1="nut2", nut_2="nut1"),
        ["2 images under other names, in another class or order: 'nut/1.png', 'nut/2.png'"],
    ),
    "rotated": (
        changed(bolt_0="bolt3", bolt_1="bolt0", bolt_2="bolt1", bolt_3="bolt2"),
        [
            "4 images under other names, in another class or order: 'bolt/0.png', 'bolt/1.png', "
            "'bolt/2.png', 'bolt/3.png'"
        ],
    ),
    "put into another class": (
        [*BEFORE[:3], BEFORE[3]._replace(class_name="bolt", name="bolt/00.png"), *BEFORE[4:]],
        ["1 images under other names, in another class or order: 'bolt/00.png'"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_other_images_are_named(tmp_path, case):
    now, expected = CASES[case]
    run_images.save(tmp_path, BEFORE)
    assert digests(now) != digests(BEFORE)
    assert list(changes(tmp_path, digests(BEFORE), now)) == expected


def test_many_are_counted(tmp_path):
    run_images.save(tmp_path, BEFORE)
    (line,) = changes(tmp_path, digests(BEFORE), [image._replace(content="x") for image in BEFORE])
    assert line.startswith("8 images replaced: 'nut/0.png', ")
    assert line.endswith(" and 3 more")


def test_the_digest_is_of_contents_in_their_order(tmp_path):
    renamed = [image._replace(name=f"moved/{image.name}") for image in BEFORE]
    assert digests(renamed) == digests(BEFORE)
    assert set(digests(BEFORE)) == {"nut", "bolt"}
    of_nut = digests(changed(nut_1="x"))
    assert of_nut["bolt"] == digests(BEFORE)["bolt"]
    assert of_nut["nut"] != digests(BEFORE)["nut"]


@pytest.mark.parametrize("content", [None, "", "{", '["nut"]\n', '["nut", "nut/0.png", "another run\'s"]\n'])
def test_without_the_list_the_classes_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / run_images.FILE).write_text(content)
    (line,) = changes(tmp_path, digests(BEFORE), changed(nut_1="x"))
    assert (
        line
        == f"other images of 'nut'; {tmp_path / run_images.FILE}, which could name them, is not this run's"
    )


def test_the_list_is_written_once(tmp_path):
    run_images.save(tmp_path, BEFORE)
    before = (tmp_path / run_images.FILE).stat()
    run_images.save(tmp_path, BEFORE)
    assert (tmp_path / run_images.FILE).stat() == before
    run_images.save(tmp_path, BEFORE[1:])
    assert len((tmp_path / run_images.FILE).read_text().splitlines()) == 7


def test_names_are_below_the_root_and_need_not_be_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9 \n.png")
    folder = tmp_path / "images" / "nut"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"an image")
    (tmp_path / "elsewhere.png").write_bytes(b"another")
    paths = [str(folder / name), str(tmp_path / "elsewhere.png")]
    dataset = Dataset("d", ("nut",), tuple(Record(path, "nut", "train", "good") for path in paths), ())
    images = run_images.run_images(tiny_config(tmp_path / "images"), dataset, tmp_path / "run")
    assert [image.name for image in images] == [f"nut/{name}", str(tmp_path / "elsewhere.png")]
    run_images.save(tmp_path, images)
    assert run_images._load(tmp_path) == images
