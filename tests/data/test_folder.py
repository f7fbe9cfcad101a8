import re

import numpy as np
import pytest
from PIL import Image

from hgad_jax.config import get_config
from hgad_jax.data import Record, fingerprint, folder, load_dataset
from hgad_jax.data.records import build_dataset
from hgad_jax.errors import UserError


def draw(path, *, mode="RGB", size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 1).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    """Two classes with the irregularities of real folders; only the first has masks."""
    root = tmp_path / "parts"
    for name in ("train/good/b.PNG", "train/good/a 1.bmp", "train/good/größe.jpeg", "train/good/grau.TIF"):
        draw(root / "Mutter M8" / name, mode="L" if "grau" in name else "RGB")
    for name in ("good/1.png", "scratch/002.png", "scratch/001.Jpg", "dent/x.png"):
        draw(root / "Mutter M8" / "test" / name)
    for name in ("scratch/002_mask.png", "scratch/001.BMP", "dent/x_mask.tif"):
        draw(root / "Mutter M8" / "ground_truth" / name, mode="L")
    draw(root / "bolt" / "train" / "good" / "1.png")
    draw(root / "bolt" / "test" / "bent" / "1.png")
    return root


def names(records):
    return [record.path.rpartition("/")[2] for record in records]


def config(**changes):
    data = get_config("hgad_folder").data
    data.update(changes)
    return data


def refused(root, *patterns, **options):
    with pytest.raises(UserError) as error:
        folder.load(str(root), **options)
    for pattern in patterns:
        assert re.search(pattern, str(error.value)), f"{pattern} not in: {error.value}"


def test_lists_classes_splits_and_masks_in_sorted_order(tree):
    dataset = folder.load(str(tree))
    assert dataset.name == "parts"
    assert dataset.classes == ("Mutter M8", "bolt")
    assert names(dataset.train) == ["a 1.bmp", "b.PNG", "grau.TIF", "größe.jpeg", "1.png"]
    assert not any(record.anomalous for record in dataset.train)
    masks = {f"{r.defect}/{names([r])[0]}": r.mask and r.mask.rpartition("/")[2] for r in dataset.test[:4]}
    assert list(masks.items()) == [
        ("dent/x.png", "x_mask.tif"),
        ("good/1.png", None),
        ("scratch/001.Jpg", "001.BMP"),
        ("scratch/002.png", "002_mask.png"),
    ]
    bent = str(tree / "bolt" / "test" / "bent" / "1.png")
    assert dataset.test[4] == Record(bent, "bolt", "test", "bent", None)
    assert dataset.test[4].anomalous


def test_one_class_alone_takes_the_folders_name(tree):
    dataset = folder.load(str(tree / "Mutter M8"))
    assert dataset.classes == ("Mutter M8",)
    assert len(dataset.train) == 4
    assert len(dataset.test) == 4


def test_test_images_are_optional(tmp_path):
    draw(tmp_path / "nut" / "train" / "good" / "1.png")
    assert folder.load(str(tmp_path)).test == ()


def test_hidden_files_are_skipped_and_others_counted_in_the_log(tree, monkeypatch):
    logged = []
    monkeypatch.setattr(folder.logging, "warning", lambda message, *args: logged.append(message % args))
    expected = folder.load(str(tree))
    assert not logged
    good = tree / "bolt" / "train" / "good"
    (good / ".DS_Store").touch()
    for name in ("Thumbs.db", "desktop.ini", "@eaDir/1.png", "__MACOSX/._1.png", "._1.png"):  # systems' own
        (good / name).parent.mkdir(exist_ok=True)
        (good / name).touch()
    assert folder.load(str(tree)) == expected
    assert not logged
    (good / "notes.txt").touch()
    (tree / "unrelated").mkdir()
    (tree / "licence.txt").touch()
    assert folder.load(str(tree)) == expected
    (line,) = logged
    assert "ignored 3 files" in line
    assert "licence.txt" in line


def test_images_in_folders_below_are_read_and_those_elsewhere_are_told(tree, monkeypatch):
    logged = []
    monkeypatch.setattr(folder.logging, "warning", lambda message, *args: logged.append(message % args))
    deeper = [
        draw(tree / "bolt" / "train" / "good" / "1" / "monday" / "1.png"),
        draw(tree / "Mutter M8" / "test" / "scratch" / "cam 1" / "003.png"),
    ]
    mask = draw(tree / "Mutter M8" / "ground_truth" / "scratch" / "cam 1" / "003_mask.png", mode="L")
    dataset = folder.load(str(tree))
    found = {record.path: record for record in dataset.train + dataset.test}
    assert found[str(deeper[0])].split == "train"
    assert found[str(deeper[1])].defect == "scratch"
    assert found[str(deeper[1])].mask == str(mask)
    assert not logged
    for name in ("bolt/validation/good/2.png", "bolt/train/bad/2.png", "bolt/3.png", "4.png"):
        draw(tree / name)
    assert folder.load(str(tree)) == dataset
    (line,) = [line for line in logged if "not read" in line]
    assert line.startswith("4 images lie in folders that are not read: '")


def test_ground_truth_of_good_images_is_not_used(tree):
    draw(tree / "Mutter M8" / "ground_truth" / "good" / "1_mask.png", mode="L")
    assert all(record.mask is None for record in folder.load(str(tree)).test if not record.anomalous)


def test_missing_root(tmp_path):
    refused(tmp_path / "nowhere", "'.*nowhere' does not exist", r"config\.data\.root", "train/good")


def test_root_that_is_a_file(tree):
    refused(tree / "bolt" / "train" / "good" / "1.png", "1.png' is not a folder")


def test_no_classes_shows_the_expected_tree(tmp_path):
    refused(tmp_path, "no class found, no folder in it", "DIR/<class>/train/good")
    draw(tmp_path / "ok" / "1.png")
    refused(tmp_path, "no class found, only the folders 'ok'", "check .* --normal-dir=ok", "normal_dir=ok$")


def test_class_without_good_images(tree):
    (tree / "bolt" / "train" / "good" / "1.png").unlink()
    refused(tree, "class 'bolt' has no good training images", "'.*bolt/train/good'", "Put images")


def test_class_with_test_images_only(tree):
    draw(tree / "nut" / "test" / "good" / "1.png")
    refused(tree, "class 'nut' has no good training images", "'.*nut/train/good'")


def test_mask_without_image(tree):
    draw(tree / "Mutter M8" / "ground_truth" / "scratch" / "003_mask.png", mode="L")
    refused(tree, "1 masks without an image", "003_mask.png", "Rename")


def test_mask_of_an_unknown_defect(tree):
    draw(tree / "bolt" / "ground_truth" / "twisted" / "1_mask.png", mode="L")
    refused(tree, "1 masks without an image", "twisted/1_mask.png", "Rename")


def test_masks_of_a_class_are_all_or_none(tree):
    (tree / "Mutter M8" / "ground_truth" / "dent" / "x_mask.tif").unlink()
    refused(tree, "2 defective images have a mask but 1 have none", "test/dent/x.png", "add the missing")


def test_two_masks_for_one_image(tree):
    draw(tree / "Mutter M8" / "ground_truth" / "dent" / "x_mask.png", mode="L")
    refused(tree, "1 images have two masks: '.*test/dent/x.png'", "Take one")


def test_two_images_for_one_mask(tree):
    draw(tree / "Mutter M8" / "test" / "dent" / "x.bmp")
    refused(tree, "2 images differ in their suffix only.*'.*dent/x.bmp', '.*dent/x.png'", "Rename the image")
    kept = folder.load(str(tree), on_error="skip").test
    assert not [r.path for r in kept if "dent/x" in r.path]


@pytest.mark.parametrize("place", ["bolt/train/good/2.png", "bolt/test/good", "nut", "bolt/ground_truth"])
def test_links_out_of_the_root_need_permission(tree, tmp_path, place):
    outside = tmp_path / "elsewhere"
    picture = draw(outside / "train" / "good" / "2.png")
    if "truth" in place:
        picture.unlink()  # it would be the mask of no image
    (tree / place).symlink_to(picture if place.endswith("png") else outside)
    refused(tree, f"link leads out of '.*parts': '.*{place}' -> '.*elsewhere", "follow_links=True")
    folder.load(str(tree), follow_links=True)


def test_linked_images_are_listed_when_allowed(tree, tmp_path):
    link = tree / "bolt" / "train" / "good" / "2.png"
    link.symlink_to(draw(tmp_path / "elsewhere" / "2.png"))
    assert str(link) in [r.path for r in folder.load(str(tree), follow_links=True).train]


def test_links_inside_the_root_and_a_linked_root_are_fine(tree, tmp_path):
    good = tree / "bolt" / "train" / "good"
    (good / "2.png").symlink_to("1.png")
    (tmp_path / "alias").symlink_to(tree)
    assert names(folder.load(str(tmp_path / "alias")).train)[-2:] == ["1.png", "2.png"]


def test_dangling_link(tree):
    (tree / "bolt" / "train" / "good" / "2.png").symlink_to(tree / "gone.png")
    refused(
        tree,
        "link leads to something which does not exist: '.*2.png' -> '.*gone.png'",
        "Remove it",
        follow_links=True,
    )


def test_load_dataset_by_config(tree):
    assert load_dataset(config(root=str(tree))) == folder.load(str(tree))
    with pytest.raises(UserError, match=r"--config\.data\.root=DIR"):
        load_dataset(config())
    with pytest.raises(UserError, match=r"config\.data\.name is 'mnist'.*elpv, folder"):
        load_dataset(config(name="mnist"))


def test_readers_mistakes_are_not_blamed_on_the_user():
    with pytest.raises(ValueError, match="defective but in train"):
        build_dataset("x", [Record("a.png", "nut", "train", "bent")], good_folders={"nut": "a"})
    with pytest.raises(ValueError, match="none of the classes"):
        build_dataset("x", [Record("a.png", "nut", "train", "good")], good_folders={"bolt": "a"})


def test_fingerprint_changes_with_the_files(tree):
    records = folder.load(str(tree)).train
    before = fingerprint(records)
    assert before == fingerprint(list(records))
    assert before != fingerprint(records[::-1])
    assert before != fingerprint(records[1:])
    draw(tree / "bolt" / "train" / "good" / "1.png", size=(9, 9))
    assert before != fingerprint(records)


def test_fingerprint_of_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png.*No such file.*start again"):
        fingerprint([Record(str(tmp_path / "gone.png"), "nut", "train", "good")])


def test_listing_decodes_nothing(tmp_path):
    draw(tmp_path / "nut" / "train" / "good" / "1.png").write_bytes(np.zeros(3, np.uint8).tobytes())
    assert len(folder.load(str(tmp_path)).train) == 1
