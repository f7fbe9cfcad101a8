"""Masks are matched by name, however systems and people spell it; masks among images are found."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from broken import draw, draw_mask, good_class
from PIL import Image

from hgad_jax.data import folder
from hgad_jax.data.decode import decode
from hgad_jax.data.geometry import Transform
from hgad_jax.data.masks import few_colours, is_two_valued, mask_files, masks_among
from hgad_jax.data.names import Role, label, masked_stem, roles
from hgad_jax.data.records import Pieces, fingerprint, image_name, read_image_file
from hgad_jax.data.screen import inspect
from hgad_jax.data.transforms import load_mask
from hgad_jax.errors import UserError


def matched(root, images, masks):
    """Image → its mask or masks, by their ways below the class."""
    draw(root / "nut" / "train" / "good" / "1.png", 1)
    for name in images:
        draw(root / "nut" / "test" / name, 2)
    for name in masks:
        draw_mask(root / "nut" / "ground_truth" / name)
    listing = folder.scan(str(root))
    found = {
        str(Path(record.path).relative_to(root / "nut" / "test")): [
            str(Path(path).relative_to(root / "nut" / "ground_truth")) for path in mask_files(record.mask)
        ]
        for record in listing.records
        if record.split == "test"
    }
    return found, [problem.summary for problem in listing.problems]


def nfd(text):
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("bent/1.png", "bent/1_mask.png"),
        ("bent/1.png", "bent/1.bmp"),
        ("bent/1.png", "bent/1_GT.png"),
        ("bent/1.png", "bent/1-label.png"),
        ("bent/1.png", "bent/mask_1.png"),
        ("bent/größe.png", nfd("bent/größe_mask.png")),
        (nfd("bent/größe.png"), "bent/größe_mask.png"),
        ("Größe/1.png", nfd("Größe/1_mask.png")),
        (nfd("Größe/1.png"), "größe/1_mask.png"),
        ("Bent/A1.PNG", "bent/a1_MASK.png"),
        ("bent/1 .png", "bent/1_mask.png"),
        ("bent/monday/1.png", "bent/monday/1_mask.png"),
        ("bent/monday/1.png", "bent/1_mask.png"),
        ("bent/1.png", "bent/all/1_mask.png"),
        ("bent/1.png", "bent/1/000.png"),
    ],
)
def test_one_image_and_one_mask(image, mask, tmp_path):
    assert matched(tmp_path, [image], [mask]) == ({image: [mask]}, [])


def test_several_files_for_one_image(tmp_path):
    """As MVTec LOCO has them."""
    images = ["logical/000.png", "logical/001.png"]
    masks = ["logical/000/000.png", "logical/000/001.png", "logical/001/000.png"]
    assert matched(tmp_path, images, masks) == ({images[0]: masks[:2], images[1]: masks[2:]}, [])


def test_folders_of_masks_that_differ_in_capitals_alone(tmp_path):
    masks = ["BENT/1_mask.png", "Bent/2_mask.png", "bent/3_mask.png"]
    found, problems = matched(tmp_path, ["bent/3.png"], masks)
    assert found == {"bent/3.png": ["bent/3_mask.png"]}
    assert "2 masks without an image" in problems[0]
    found, problems = matched(tmp_path / "2", ["bent/1.png"], masks[:2])
    assert found == {"bent/1.png": ["BENT/1_mask.png"]}
    assert "1 masks without an image" in problems[0]


def test_a_mask_is_of_one_image_where_names_differ_in_capitals_alone(tmp_path):
    found, (problem,) = matched(tmp_path, ["bent/A.png", "bent/a.png"], ["bent/a_mask.png"])
    assert found == {"bent/a.png": ["bent/a_mask.png"]}
    assert "1 defective images have a mask but 1 have none" in problem


def test_what_is_spelled_exactly_comes_first(tmp_path):
    images = ["bent/A.png", "bent/a.png", "bent/a_mask.png"]
    masks = ["bent/A_mask.png", "bent/a_mask.png", "bent/a_mask_mask.png"]
    found, problems = matched(tmp_path, [images[0]], masks[:2])
    assert found == {"bent/A.png": ["bent/A_mask.png"]}
    assert problems == [
        f"'{tmp_path}/nut/ground_truth': 1 masks without an image of the same name in test/<defect>"
    ]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["bent/a/1.png", "bent/b/1.png"], ["bent/c/1_mask.png", "bent/c/2_mask.png"]),
        (["bent/a/1.png"], ["bent/b/1_mask.png", "bent/c/1_mask.png"]),
        (["bent/1.png"], ["split/1_mask.png"]),
        (["bent/1.png", "bent/1/2.png"], ["bent/1/000.png", "bent/1/2_mask.png"]),
    ],
)
def test_nothing_is_guessed(images, masks, tmp_path):
    found, problems = matched(tmp_path, images, masks)
    assert not found.get("bent/1.png")
    assert not found.get("bent/a/1.png")
    assert any("masks without an image" in problem for problem in problems)


def test_a_mask_of_several_files_marks_what_any_of_them_does(tmp_path):
    image = str(draw(tmp_path / "1.png", 1, size=(8, 8)))
    files = []
    for column in (1, 5):
        mask = np.zeros((8, 8), np.uint8)
        mask[:, column] = 1
        files.append(str(tmp_path / f"mask{column}.png"))
        Image.fromarray(mask).save(files[-1])
    pieces = Pieces(tuple(files))
    whole = load_mask(pieces, Transform(8), image=image)
    assert whole.any(0).nonzero()[0].tolist() == [1, 5]
    assert read_image_file(pieces) == b"".join(map(read_image_file, files))
    assert image_name(pieces) == str(tmp_path)


def test_a_piece_of_another_size_is_found(tmp_path):
    good_class(tmp_path / "nut", 0)
    truth = tmp_path / "nut" / "ground_truth" / "kratzer tief"
    for i in range(2):
        (truth / f"{i}_mask.png").unlink()
        draw_mask(truth / f"{i}" / "000.png")
        draw_mask(truth / f"{i}" / "001.png", size=(24, 18 + i))
    records = [record for record in folder.load(str(tmp_path)).test if record.mask]
    assert [type(record.mask) for record in records] == [Pieces, Pieces]
    assert inspect(records[0], Transform(8)).error == ""
    assert "001.png' has 24×19 pixels" in inspect(records[1], Transform(8)).error
    before = fingerprint([record._replace(path=record.mask) for record in records])
    draw_mask(truth / "0" / "001.png", value=7)
    assert fingerprint([record._replace(path=record.mask) for record in records]) != before


def test_masks_among_images_are_known_by_name_if_their_image_is_there():
    names = ["1.png", "1_mask.png", "2-GT.bmp", "2.jpg", "gt_3.png", "1_label.png"]
    names += ["front_label.png", "mask.png", "d/1_mask.png"]
    assert masks_among(names) == ["1_mask.png", "2-GT.bmp"]
    assert masks_among([*names, "3.png"]) == ["1_mask.png", "2-GT.bmp", "gt_3.png"]
    assert masks_among(names, sure=False) == ["1_mask.png", "2-GT.bmp", "1_label.png"]


def test_the_image_of_a_label_is_no_mask_unless_it_looks_like_one(tmp_path):
    good = good_class(tmp_path / "nut", 0) / "train" / "good"
    label = draw(good / "Bild 00 ä_label.PNG", 99)
    records = folder.load(str(tmp_path)).train
    assert str(label) in [record.path for record in records]
    assert [inspect(record, Transform(8)).colours for record in records] == [3] * 7


@pytest.mark.parametrize("place", ["train/good", "test/good", "test/kratzer tief"])
def test_masks_among_images_are_an_error(place, tmp_path):
    nut = good_class(tmp_path / "nut", 0)
    sound = folder.load(str(tmp_path))
    image = next((nut / place).iterdir())
    mask = draw_mask(image.with_name(f"{image.stem}_mask.png"))
    with pytest.raises(UserError, match=r"1 masks, by their names, lie among the images.*Move them"):
        folder.load(str(tmp_path))
    kept = folder.load(str(tmp_path), on_error="skip")
    assert kept == sound
    assert str(mask) not in [record.path for record in kept.train + kept.test]


@pytest.mark.parametrize(
    "place", ["train/good/NG", "train/good/masks", "test/good/xyz", "test/kratzer tief/ok"]
)
def test_a_folder_of_another_kind_among_images_is_an_error(place, tmp_path):
    nut = good_class(tmp_path / "nut", 0)
    sound = folder.load(str(tmp_path))
    draw(nut / place / "1.png", 9)
    with pytest.raises(UserError, match=rf"A folder of .*, by its name, lies among other images.*{place}'"):
        folder.load(str(tmp_path))
    assert folder.load(str(tmp_path), on_error="skip") == sound


@pytest.mark.parametrize("place", ["OK", "Gut", "ground_truth", "masks", "Good"])
def test_what_would_count_as_a_defect_and_is_none_is_an_error(place, tmp_path):
    nut = good_class(tmp_path / "nut", 0)
    sound = folder.load(str(tmp_path))
    draw(nut / "test" / place / "1.png", 9)
    with pytest.raises(UserError, match=rf"would count as defects in test: '.*test/{place}'"):
        folder.load(str(tmp_path))
    assert folder.load(str(tmp_path), on_error="skip") == sound


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("L", [0], 1),
        ("L", [0, 255], 2),
        ("L", [0, 1, 2], 3),
        ("1", [0, 255], 2),
        ("RGB", [0, 255], 2),
        ("RGB", [0, 1, 2], 3),
        ("I;16", [0, 4000], 2),
        ("I;16", [0, 4000, 5], 3),
        ("P", [0, 255], 2),
    ],
)
def test_colours_are_counted_up_to_three(mode, values, expected, tmp_path):
    pixels = np.resize(np.array(values, np.uint16 if mode == "I;16" else np.uint8), (9, 8))
    image = Image.fromarray(pixels) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    assert few_colours(decode(image).pixels) == expected
    image.save(tmp_path / "1.png")
    assert is_two_valued(str(tmp_path / "1.png")) == (expected < 3)
    assert not is_two_valued(str(tmp_path / "2.png")), "what is not there"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("OK", {Role.GOOD}),
        ("i.O.", {Role.GOOD}),
        ("n.i.O.", {Role.BAD}),
        ("1_good", {Role.GOOD}),
        ("Défauts", {Role.BAD}),
        ("train-ok", {Role.TRAIN, Role.GOOD}),
        ("ground truth", {Role.MASK}),
        ("不良品", {Role.BAD}),
        ("정상", {Role.GOOD}),
        ("no defect", {Role.GOOD}),
        ("scratch", set()),
        ("good scratch", set()),
        ("metal_nut", set()),
        ("01", set()),
    ],
)
def test_words(name, expected):
    assert set(roles(name)) == expected
    assert set(roles(nfd(name).upper())) == expected


def test_a_label_among_other_words():
    assert (label("def_front"), label("ok_front"), label("front")) == (Role.BAD, Role.GOOD, None)
    assert label("good_or_bad") is None


def test_names_of_masks():
    names = ("1_mask", "1-GT", "mask 7", "a.label", "mask", "masks", "1mask")
    assert [masked_stem(name) for name in names] == ["1", "1", "7", "a", None, None, None]
