"""Folders named one by one, as anomalib's users know them."""

import os
import re
import shlex

import pytest
from broken import draw, draw_mask

from hgad_jax.config import get_config
from hgad_jax.data import explicit, load_dataset, own
from hgad_jax.data.__main__ import main
from hgad_jax.errors import UserError


@pytest.fixture
def hazelnut(tmp_path):
    """The layout of anomalib's example folder, and a second kind of defect."""
    root = tmp_path / "hazelnut toy"
    for i in range(5):
        draw(root / "good" / f"{i:02}.jpg", i)
    draw(root / "good" / "more" / "00.jpg", 10)
    draw(root / "good_test" / "00.jpg", 11)
    for defect in ("crack", "colour"):
        for i in range(2):
            draw(root / defect / f"{i:02}.jpg", 20 + i + len(defect))
            draw_mask(root / "mask" / defect / f"{i:02}.png")
    return root


def config(root="", **changes):
    data = get_config("hgad_folder").data
    data.update(root=str(root), **changes)
    return data


FULL = {
    "normal_dir": ("good",),
    "abnormal_dir": ("crack", "colour"),
    "mask_dir": ("mask/crack", "mask/colour"),
    "normal_test_dir": ("good_test",),
}


def test_everything_given(hazelnut):
    dataset = load_dataset(config(hazelnut, **FULL))
    assert dataset.name == "hazelnut toy"
    assert dataset.classes == ("hazelnut toy",)
    assert len(dataset.train) == 6, "folders below are searched, too"
    assert not any(record.anomalous for record in dataset.train)
    tests = [(r.defect, os.path.relpath(r.mask, hazelnut) if r.mask else None) for r in dataset.test]
    assert tests == [
        ("good", None),
        ("crack", "mask/crack/00.png"),
        ("crack", "mask/crack/01.png"),
        ("colour", "mask/colour/00.png"),
        ("colour", "mask/colour/01.png"),
    ]


def test_normal_images_alone_are_enough(hazelnut):
    dataset = load_dataset(config(normal_dir=(str(hazelnut / "good"),)))
    assert dataset.classes == ("good",)
    assert dataset.test == ()


def test_folders_of_defects_below_one_folder(hazelnut, tmp_path):
    root = tmp_path / "nested"
    draw(root / "ok" / "1.png", 1)
    draw(root / "bad" / "bent" / "1.png", 2)
    draw(root / "bad" / "good" / "1.png", 3)
    draw_mask(root / "masks" / "bent" / "1_mask.png")
    draw_mask(root / "masks" / "good" / "1_mask.png")
    dataset = load_dataset(config(root, normal_dir=("ok",), abnormal_dir=("bad",), mask_dir=("masks",)))
    assert [(r.defect, r.anomalous) for r in dataset.test] == [("bent", True), ("abnormal", True)]
    assert all(record.mask for record in dataset.test)


def test_one_string_may_name_several_folders(hazelnut):
    given = {**FULL, "abnormal_dir": ("crack,colour",), "mask_dir": ("mask/crack,mask/colour",)}
    assert load_dataset(config(hazelnut, **given)) == load_dataset(config(hazelnut, **FULL))
    (hazelnut / "a,b").mkdir()
    assert explicit.absolute(("a,b",), str(hazelnut)) == (str(hazelnut / "a,b"),)


def test_paths_become_absolute(hazelnut, monkeypatch):
    monkeypatch.chdir(hazelnut)
    data = config(normal_dir=("good",))
    data.update(own.absolute_paths(data))
    assert data.normal_dir == (str(hazelnut / "good"),)
    assert data.root == ""
    expected = load_dataset(data)
    monkeypatch.chdir("/")
    assert load_dataset(data) == expected


def refused(pattern, *args, **changes):
    with pytest.raises(UserError) as error:
        load_dataset(config(*args, **changes))
    assert re.search(pattern, str(error.value)), error.value


def test_missing_folder_and_missing_key(hazelnut):
    refused(r"nowhere' does not exist; config\.data\.normal_dir", hazelnut, normal_dir=("nowhere",))
    refused(r"need config\.data\.normal_dir", hazelnut, abnormal_dir=("crack",))
    refused(r"config\.data\.root=DIR, or --config\.data\.normal_dir=DIR")


def test_as_many_mask_folders_as_abnormal_ones(hazelnut):
    changes = FULL | {"mask_dir": ("mask",)}
    refused(r"mask_dir names 1 folders and abnormal_dir 2; expected as many", hazelnut, **changes)


def test_folders_that_share_images_are_refused(hazelnut):
    refused(r"normal_dir '.*good' and .*normal_test_dir '.*more' share files", hazelnut,
            normal_dir=("good",), normal_test_dir=("good/more",))  # fmt: skip


def test_missing_masks_and_masks_without_an_image(hazelnut):
    (hazelnut / "mask" / "crack" / "00.png").rename(hazelnut / "mask" / "crack" / "07.png")
    refused(r"1 masks without an image.*07\.png", hazelnut, **FULL)
    refused(r"3 defective images have a mask but 1 have none: '.*crack/00\.jpg'", hazelnut, **FULL)


def test_no_image_at_all(hazelnut):
    (hazelnut / "empty").mkdir()
    refused("class 'hazelnut toy' has no good training images", hazelnut, normal_dir=("empty",))


@pytest.mark.parametrize("target", [".", "..", "../crack"])
def test_links_that_lead_round_in_a_circle(hazelnut, target):
    (hazelnut / "good" / "up").symlink_to(target)
    (hazelnut / "crack" / "good").symlink_to("../good")
    folders = {"normal_dir": ("good",), "on_error": "skip", "follow_links": True}
    own_images = 6 + 2 * (target == "../crack")
    assert len(load_dataset(config(hazelnut, **folders)).train) == own_images
    pattern = r"symbolic link leads to a folder that it lies in: '.*' -> '.*good|toy'\. Remove it"
    refused(pattern, hazelnut, normal_dir=("good",))


def test_an_error_says_how_to_check_the_same_folders(hazelnut, capsys):
    (hazelnut / "mask" / "crack" / "00.png").unlink()
    with pytest.raises(UserError) as error:
        load_dataset(config(hazelnut, follow_links=True, **FULL))
    (command,) = re.findall(r"python -m hgad_jax\.data (check .*) lists every file", str(error.value))
    arguments = shlex.split(command)
    assert f"{hazelnut}" in arguments
    main(arguments)
    assert "3 defective images have a mask but 1 have none" in capsys.readouterr().out
    draw_mask(hazelnut / "mask" / "crack" / "00.png")
    main(arguments)
    assert "11 images\n" in (said := capsys.readouterr().out)
    assert "have none" not in said


def test_links_may_not_leave_the_root(hazelnut, tmp_path):
    (hazelnut / "good" / "link.jpg").symlink_to(draw(tmp_path / "outside.jpg", 99))
    refused(r"link leads out of .*link\.jpg", hazelnut, **FULL)
    refused(r"link leads out of .*link\.jpg", normal_dir=(str(hazelnut / "good"),))
    assert len(load_dataset(config(hazelnut, follow_links=True, **FULL)).train) == 7
    assert len(load_dataset(config(hazelnut, on_error="skip", **FULL)).train) == 6
