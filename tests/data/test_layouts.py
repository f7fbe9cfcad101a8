"""Folders of other layouts are recognised, and what is advised is right when it is done."""

import os
import re
import shlex
import subprocess

import pytest
from absl import flags
from broken import draw, draw_mask
from dataset_trees import MVTEC_AD, TREES, mvtec_ad
from ml_collections import config_flags
from trees import ROOT

from hgad_jax.data import folder, own, prepare
from hgad_jax.data.__main__ import main
from hgad_jax.data.datasets.spec import compare_with
from hgad_jax.data.layouts import shell
from hgad_jax.data.layouts import survey as layouts_survey
from hgad_jax.data.layouts.groups import group
from hgad_jax.data.layouts.survey import Place, survey
from hgad_jax.data.names import Role
from hgad_jax.errors import UserError

_seed = iter(range(10**9))


def fill(root, counts):
    """Images in folders: path below the root → how many, named 000.png, 001.png, ..."""
    for path, count in counts.items():
        for i in range(count):
            draw(root / path / f"{i:03}.png", next(_seed), size=(12, 9))
    return root


def masks(root, path, count, *, name="{:03}_mask.png"):
    for i in range(count):
        draw_mask(root / path / name.format(i), size=(12, 9))


def checked(capfd, *arguments):
    """Status and what was printed."""
    status = main(["check", *map(str, arguments)])
    said = capfd.readouterr()
    assert "Traceback" not in said.err, said.err
    return status, said.out + said.err


def follow(text):
    """Run the commands that a report prints; returns the arguments of the check at their end."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    commands = [line for line in lines if re.match(r"(mkdir|mv|find|for) ", line)]
    (check,) = {line for line in lines if line.startswith("python -m hgad_jax.data check ")}
    subprocess.run(["bash", "-e", "-c", "\n".join(commands)], check=True)
    return shlex.split(check)[4:]


def rows(text):
    """Class, split, defect → images, masks, of the table of a report."""
    found = re.findall(r"^(\S.*?)  +(train|test)  +(\S.*?)  +(\d+)  +(\d+|-)  ", text, re.MULTILINE)
    return {
        (name.strip(), split, defect.strip()): (int(images), int(masked) if masked != "-" else 0)
        for name, split, defect, images, masked in found
    }


# name → (folders and their images, folders and their masks, what is read in the end)
LAYOUTS = {
    "heap": ({"": 5}, {}, {("parts", "train", "good"): (5, 0)}),
    "ok and ng": (
        {"OK": 5, "NG": 2},
        {},
        {("parts", "train", "good"): (5, 0), ("parts", "test", "NG"): (2, 0)},
    ),
    "german": (
        {"i.O.": 5, "n.i.O./Kratzer tief": 2, "n.i.O./Riß": 1},
        {},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "Kratzer tief"): (2, 0),
            ("parts", "test", "Riß"): (1, 0),
        },
    ),
    "chinese": (
        {"正常": 5, "异常": 2},
        {},
        {("parts", "train", "good"): (5, 0), ("parts", "test", "异常"): (2, 0)},
    ),
    "numbers": ({"0": 5, "1": 2}, {}, {("parts", "train", "good"): (5, 0), ("parts", "test", "1"): (2, 0)}),
    "train without good": (
        {"nut/train": 5, "nut/test/good": 1, "nut/test/bent": 2, "bolt/train": 4},
        {},
        {
            ("bolt", "train", "good"): (4, 0),
            ("nut", "train", "good"): (5, 0),
            ("nut", "test", "good"): (1, 0),
            ("nut", "test", "bent"): (2, 0),
        },
    ),
    "one class without good": ({"train": 5}, {}, {("parts", "train", "good"): (5, 0)}),
    "capitals": (
        {"nut/Train/Good": 5, "nut/Test/Good": 1, "nut/Test/Bent": 2},
        {"nut/Ground_Truth/Bent": 2},
        {
            ("nut", "train", "good"): (5, 0),
            ("nut", "test", "good"): (1, 0),
            ("nut", "test", "Bent"): (2, 2),
        },
    ),
    "as BTAD": (
        {"nut/train/ok": 5, "nut/test/ok": 1, "nut/test/ko": 2},
        {"nut/ground_truth/ko": 2},
        {("nut", "train", "good"): (5, 0), ("nut", "test", "good"): (1, 0), ("nut", "test", "ko"): (2, 2)},
    ),
    "as VisA": (
        {"nut/Data/Images/Normal": 5, "nut/Data/Images/Anomaly": 2},
        {"nut/Data/Masks/Anomaly": 2},
        {("parts", "train", "good"): (5, 0), ("parts", "test", "Anomaly"): (2, 2)},
    ),
    "several products": (
        {"nut/OK": 5, "nut/scratch": 1, "bolt/OK": 4, "bolt/NG": 2},
        {},
        {
            ("bolt", "train", "good"): (4, 0),
            ("bolt", "test", "NG"): (2, 0),
            ("nut", "train", "good"): (5, 0),
            ("nut", "test", "scratch"): (1, 0),
        },
    ),
    "products without labels": (
        {"nut": 5, "bolt": 4},
        {},
        {("bolt", "train", "good"): (4, 0), ("nut", "train", "good"): (5, 0)},
    ),
    "split first": (
        {"train/nut/good": 5, "train/bolt/good": 4, "test/nut/good": 1, "test/nut/bent": 2},
        {"ground_truth/nut/bent": 2},
        {
            ("bolt", "train", "good"): (4, 0),
            ("nut", "train", "good"): (5, 0),
            ("nut", "test", "good"): (1, 0),
            ("nut", "test", "bent"): (2, 2),
        },
    ),
    "one folder deeper": (
        {"site/nut/train/good": 5, "site/bolt/train/good": 4},
        {},
        {("bolt", "train", "good"): (4, 0), ("nut", "train", "good"): (5, 0)},
    ),
    "one folder deeper, raw": (
        {"site/nut/OK": 5, "site/nut/NG": 1, "site/bolt/OK": 4},
        {},
        {
            ("bolt", "train", "good"): (4, 0),
            ("nut", "train", "good"): (5, 0),
            ("nut", "test", "NG"): (1, 0),
        },
    ),
    "two words": (
        {"train_ok": 5, "test_ok": 2, "test_nok": 3},
        {},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (2, 0),
            ("parts", "test", "test_nok"): (3, 0),
        },
    ),
    "words with more": (
        {"train/def_front": 2, "train/ok_front": 5, "test/def_front": 2, "test/ok_front": 1},
        {},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (1, 0),
            ("parts", "test", "def_front"): (4, 0),
        },
    ),
    "masks within defects": (
        {"OK": 5, "NG": 2},
        {"NG/masks": 2},
        {("parts", "train", "good"): (5, 0), ("parts", "test", "NG"): (2, 2)},
    ),
    "defects without good": (
        {"good images": 5, "test images/bent": 2, "test images/good": 1},
        {"masks/bent": 2},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "bent"): (2, 2),
            ("parts", "test", "good"): (1, 0),
        },
    ),
    "names with blanks and quotes": (
        {"it's 1/OK": 5, "it's 1/a $HOME": 1, 'the "2nd"/OK': 4},
        {},
        {
            ("it's 1", "train", "good"): (5, 0),
            ("it's 1", "test", "a $HOME"): (1, 0),
            ('the "2nd"', "train", "good"): (4, 0),
        },
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_advised_is_right_when_it_is_done(layout, tmp_path, capfd):
    images, truth, expected = LAYOUTS[layout]
    root = fill(tmp_path / "a place" / "parts", images)
    for path, count in truth.items():
        masks(root, path, count)
    status, said = checked(capfd, root)
    assert status == (1 if "1. " in said else 2), said
    for path, count in images.items():
        place = str(root / path) if path else str(root)
        if "not where it belongs" not in said:
            assert re.search(rf"^  {re.escape(place)} +{count} images  \S", said, re.MULTILINE), said
    status, said = checked(capfd, *follow(said))
    assert rows(said) == expected
    assert status == 0, said


# As above, for folders of which a part is where it should be.
PARTLY = {
    "MVTec LOCO": (
        {"nut/train/good": 5, "nut/validation/good": 2, "nut/test/good": 1, "nut/test/logical_anomalies": 2},
        {},
        {
            ("nut", "train", "good"): (7, 0),
            ("nut", "test", "good"): (1, 0),
            ("nut", "test", "logical_anomalies"): (2, 0),
        },
    ),
    "MVTec AD 2": (
        {
            "can/train/good": 5,
            "can/validation/good": 2,
            "can/test_public/good": 1,
            "can/test_public/bad": 2,
        },
        {"can/test_public/ground_truth/bad": 2},
        {("can", "train", "good"): (7, 0), ("can", "test", "good"): (1, 0), ("can", "test", "bad"): (2, 2)},
    ),
    "MVTec 3D's": (
        {
            "nut/train/good/rgb": 5,
            "nut/train/good/xyz": 5,
            "nut/test/good/rgb": 1,
            "nut/test/good/xyz": 1,
            "nut/test/hole/rgb": 2,
            "nut/test/hole/xyz": 2,
        },
        {"nut/test/hole/gt": 2, "nut/test/good/gt": 1},
        {("nut", "train", "good"): (5, 0), ("nut", "test", "good"): (1, 0), ("nut", "test", "hole"): (2, 2)},
    ),
    "good and bad in train": (
        {"train/good": 5, "train/bad": 2, "test/good": 1},
        {},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (1, 0),
            ("parts", "test", "bad"): (2, 0),
        },
    ),
    "another word for good in test": (
        {"train/good": 5, "test/OK": 2, "test/NG": 1},
        {},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (2, 0),
            ("parts", "test", "NG"): (1, 0),
        },
    ),
    "numbers in test": (
        {"train/good": 5, "test/0": 2, "test/1": 1},
        {},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (2, 0),
            ("parts", "test", "1"): (1, 0),
        },
    ),
    "two names for good in test": (
        {"train/good": 5, "test/good": 1, "test/OK": 2},
        {},
        {("parts", "train", "good"): (5, 0), ("parts", "test", "good"): (3, 0)},
    ),
    "one class raw": (
        {"bolt/train/good": 5, "nut/OK": 4, "nut/NG": 1},
        {},
        {
            ("bolt", "train", "good"): (5, 0),
            ("nut", "train", "good"): (4, 0),
            ("nut", "test", "NG"): (1, 0),
        },
    ),
    "masks within test": (
        {"train/good": 5, "test/bent": 2, "test/good": 1},
        {"test/bent/mask": 2},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (1, 0),
            ("parts", "test", "bent"): (2, 2),
        },
    ),
    "another name for ground_truth": (
        {"train/good": 5, "test/bent": 2, "test/good": 1},
        {"masks/bent": 2},
        {
            ("parts", "train", "good"): (5, 0),
            ("parts", "test", "good"): (1, 0),
            ("parts", "test", "bent"): (2, 2),
        },
    ),
}


@pytest.mark.parametrize("layout", PARTLY)
def test_what_is_elsewhere_is_told_and_brought_in(layout, tmp_path, capfd):
    images, truth, expected = PARTLY[layout]
    root = fill(tmp_path / "parts", images)
    for path, count in truth.items():
        masks(root, path, count)
    status, said = checked(capfd, root)
    assert status == 1, said
    assert "What is not where it belongs" in said
    status, said = checked(capfd, *follow(said))
    assert rows(said) == expected
    assert status == 0, said


def test_masks_beside_images_are_taken_out(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"": 8})
    masks(root, "", 3)
    status, said = checked(capfd, root)
    assert status == 2
    assert "3 of the 11 files in" in said
    assert "are masks by their names, such as 000_mask.png" in said
    status, said = checked(capfd, *follow(said))
    assert rows(said) == {("parts", "train", "good"): (5, 0), ("parts", "test", "defective"): (3, 3)}
    assert status == 0, said


def test_masks_beside_images_of_a_defect_are_taken_out(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"train/good": 5, "test/good": 1, "test/bent": 2})
    masks(root, "test/bent", 2, name="{:03}_GT.png")
    status, said = checked(capfd, root)
    assert status == 1
    assert "2 masks, by their names, lie among the images in" in said
    status, said = checked(capfd, *follow(said))
    assert rows(said)["parts", "test", "bent"] == (2, 2)
    assert status == 0, said


@pytest.mark.parametrize("photographs", [False, True])
def test_labels_beside_images_are_masks_if_they_look_like_them(photographs, tmp_path, capfd):
    """As Kolektor's surfaces come: Part0.jpg and Part0_label.bmp; and a bottle and the label on it."""
    root = fill(tmp_path / "parts", {"": 8})
    masks(root, "", 3, name="{:03}_label.bmp")
    if photographs:
        for i in range(3):
            draw(root / f"{i:03}_label.bmp", next(_seed), size=(12, 9))
    _, said = checked(capfd, root)
    assert ("are masks by their names" in said) != photographs
    status, said = checked(capfd, *follow(said))
    assert rows(said)["parts", "train", "good"] == (11 if photographs else 5, 0)
    assert status == 0, said


def test_masks_whose_names_no_command_takes_apart(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"": 8})
    masks(root, "", 3, name="mask_{:03}.png")
    _, said = checked(capfd, root)
    assert "3 of the 11 files in" in said
    assert "mv " not in said


def test_masks_of_the_same_names_are_found_by_their_content(tmp_path, capfd):
    """As the magnetic tiles come: 000.jpg, and its mask 000.png."""
    root = tmp_path / "parts"
    for i in range(7):
        draw(root / f"{i:03}.jpg", next(_seed), size=(12, 9))
    masks(root, "", 2, name="{:03}.png")
    status, said = checked(capfd, root)
    assert status == 2
    assert "2 of the 9 files in" in said
    status, said = checked(capfd, *follow(said))
    assert rows(said) == {("parts", "train", "good"): (5, 0), ("parts", "test", "defective"): (2, 2)}
    assert status == 0, said


def test_where_every_image_has_a_mask_none_is_good(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"": 5})
    masks(root, "", 5)
    _, said = checked(capfd, root)
    assert "Images with a mask are defective. None is without." in said
    assert "mv " not in said
    assert "mkdir" not in said


@pytest.mark.parametrize("truth", ["beside", "black"])
def test_folders_of_images_and_masks_are_defects(truth, tmp_path, capfd):
    """As the magnetic tiles come: a folder for each defect, and one of good tiles, whose masks are black."""
    root = tmp_path / "tiles"
    for name, count in (("MT_Blowhole", 2), ("MT_Crack", 1), ("MT_Free", 5)):
        for i in range(count):
            draw(root / name / "Imgs" / f"{i:03}.jpg", next(_seed), size=(12, 9))
            if name != "MT_Free" or truth == "black":
                value = 0 if name == "MT_Free" else 255
                draw_mask(root / name / "Imgs" / f"{i:03}.png", size=(12, 9), value=value)
    _, said = checked(capfd, root)
    assert re.search(r"MT_Blowhole/Imgs +4 images  defective: MT_Blowhole$", said, re.MULTILINE)
    assert ("All are black: the images are good." in said) == (truth == "black")
    status, said = checked(capfd, *follow(said))
    assert rows(said) == {
        ("tiles", "train", "good"): (5, 0),
        ("tiles", "test", "MT_Blowhole"): (2, 2),
        ("tiles", "test", "MT_Crack"): (1, 1),
    }
    assert status == 0, said


def test_black_masks_among_others_are_counted_and_nothing_is_moved(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"": 5})
    masks(root, "", 5)
    draw_mask(root / "003_mask.png", size=(12, 9), value=0)
    _, said = checked(capfd, root)
    assert "1 of them are all black, so that their images are good; the others' are defective." in said
    assert "mv " not in said


def test_folders_without_images_are_not_moved_into(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"nut/train": 5, "nut/test/good": 1})
    (root / "nut" / "train_").mkdir()
    (root / "nut" / "train_" / "notes.txt").touch()
    _, said = checked(capfd, root)
    _, said = checked(capfd, *follow(said))
    assert rows(said) == {("nut", "train", "good"): (5, 0), ("nut", "test", "good"): (1, 0)}
    assert (root / "nut" / "train_" / "notes.txt").exists()


def test_labels_in_the_names_of_files(tmp_path, capfd):
    root = tmp_path / "parts"
    for i in range(5):
        draw(root / f"OK_{i}.png", next(_seed), size=(12, 9))
    draw(root / "NG_1.png", next(_seed), size=(12, 9))
    _, said = checked(capfd, root)
    assert "5 files are good and 1 defective by their names (NG*)" in said
    _, said = checked(capfd, *follow(said))
    assert rows(said) == {("parts", "train", "good"): (5, 0), ("parts", "test", "defective"): (1, 0)}


def test_images_and_labels_of_yolo(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"images/train": 6, "images/val": 3})
    for split, count in (("train", 2), ("val", 1)):
        (root / "labels" / split).mkdir(parents=True)
        for i in range(3):
            text = "0 0.5 0.5 0.1 0.1\n" if i < count else ""
            (root / "labels" / split / f"{i:03}.txt").write_text(text)
    status, said = checked(capfd, root)
    assert status == 2
    assert "2 of the 6 images in" in said
    assert "right if the boxes are round defects" in said
    status, said = checked(capfd, *follow(said))
    assert rows(said) == {("parts", "train", "good"): (6, 0), ("parts", "test", "defective"): (3, 0)}
    assert status == 0, said


@pytest.mark.filterwarnings("ignore:the load_module")  # ml_collections'
@pytest.mark.parametrize("place", ["parts", 'it\'s a "place", with [commas] $HOME'])
def test_the_options_advised_are_understood_by_train(place, tmp_path):
    """By the flags of the scripts, as a shell gives them."""
    root = fill(tmp_path / place, {"0": 5, "1/tief, groß": 2, "1/it's": 1})
    with pytest.raises(UserError) as error:
        folder.load(str(root))
    (line,) = re.findall(r"^  (.*--config\.data\.root.*)$", str(error.value), re.MULTILINE)
    echoed = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    argv = ["train.py", f"--config={ROOT}/configs/hgad_folder.py", *echoed.stdout.decode().split("\0")[:-1]]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    values(argv)
    dataset = own.load(values["config"].value.data)
    assert {record.defect for record in dataset.test} == {"tief, groß", "it's"}
    assert len(dataset.train) == 5


def test_a_raw_folder_ends_training_with_the_same_advice(tmp_path, capfd):
    root = fill(tmp_path / "parts", {"OK": 5, "NG": 2})
    _, said = checked(capfd, root)
    with pytest.raises(UserError) as error:
        folder.load(str(root))
    assert f"error: {error.value}\n" == said


def test_advice_without_end_is_cut_in_an_error_but_not_by_check(tmp_path, capfd):
    root = fill(tmp_path / "parts", {f"{i:02}/OK": 1 for i in range(25)})
    _, said = checked(capfd, root)
    assert len(re.findall(r"^  mv ", said, re.MULTILINE)) == 25
    with pytest.raises(UserError) as error:
        folder.load(str(root))
    assert len(re.findall(r"^  mv ", str(error.value), re.MULTILINE)) == 10
    assert "and 30 lines more, which check prints" in str(error.value)


def test_a_folder_without_images(tmp_path, capfd):
    root = tmp_path / "parts"
    (root / "a").mkdir(parents=True)
    (root / "a" / "dataset.zip").touch()
    (root / "a" / "notes.txt").touch()
    (root / "IMG_1.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    status, said = checked(capfd, root)
    assert status == 2
    assert "No image is in it; its files are: 1 .heic, 1 .zip, 1 .txt." in said
    assert "IMG_1.heic' is a HEIC file: such files are not read by the suffix '.heic'." in said
    assert "Archives (.zip) are not read: unpack those with images." in said
    assert "DIR/<class>/train/good" in said, "what is expected"


@pytest.mark.parametrize("name", ["btad", "visa", "mvtec_3d_rgb"])
def test_a_dataset_of_a_paper_is_told_its_config(name, tmp_path, capfd):
    tree, _ = TREES[name]
    tree(tmp_path / "download")
    status, said = checked(capfd, tmp_path / "download")
    assert status == (2 if name == "visa" else 1), "the others have folders of training images"
    assert f"--config=configs/hgad_{name}.py --config.data.root={tmp_path}/download" in said
    assert (ROOT / "configs" / f"hgad_{name}.py").is_file()
    with pytest.raises(UserError, match=f"--config=configs/hgad_{name}.py"):
        folder.load(str(tmp_path / "download"))


def test_mvtec_ad_itself_is_told_apart_from_classes_of_its_names(tmp_path, capfd, monkeypatch):
    mvtec_ad(tmp_path / "download")
    _, said = checked(capfd, tmp_path / "download")
    assert "hgad_mvtec_ad" not in said, "not as many images as were published"
    spec = prepare.spec_of("mvtec_ad")._replace(problems=compare_with(MVTEC_AD))
    monkeypatch.setattr(prepare, "spec_of", lambda name: spec)
    _, said = checked(capfd, tmp_path / "download")
    assert "Note: This looks like MVTec AD" in said
    assert "--config=configs/hgad_mvtec_ad.py" in said


def test_links_are_not_followed_and_what_cannot_be_read_counts_as_empty(tmp_path, monkeypatch):
    root = fill(tmp_path / "parts", {"OK": 1})
    (root / "again").symlink_to(root)
    (root / "NG").mkdir()
    scandir = layouts_survey.os.scandir

    def refusing(path):
        if str(path).endswith("NG"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(layouts_survey.os, "scandir", refusing)
    assert [place.parts for place in survey(str(root)).places] == [("OK",)]


def test_a_survey_ends_where_there_are_too_many_files(tmp_path, monkeypatch):
    root = fill(tmp_path / "parts", {"OK": 3, "later": 3})
    monkeypatch.setattr(layouts_survey, "MOST", 6)
    assert not survey(str(root)).complete


def test_names_that_cannot_be_typed_are_quoted_for_bash(tmp_path):
    path = os.fsdecode(bytes(tmp_path) + b"/a \xfc\n'b'\\")
    subprocess.run(["bash", "-e", "-c", shell.make(path)], check=True)
    assert os.listdir(tmp_path) == [os.path.basename(path)]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (
            ["train/scratch", "train/good"],
            {"train/scratch": (Role.BAD, "scratch")},
        ),
        (["OK/cam1", "OK/cam2", "NG/cam1"], {"NG/cam1": (Role.BAD, "NG"), "OK/cam2": (Role.GOOD, "good")}),
        (["test/scratch/monday", "train/good"], {"test/scratch": (Role.BAD, "scratch")}),
        (["masks", "OK", "bent"], {"masks": (Role.MASK, "bent"), "bent": (Role.BAD, "bent")}),
        (["test", "train/good"], {"test": (None, "")}),
        (["test/bent", "ground_truth/bent/000"], {"ground_truth/bent": (Role.MASK, "bent")}),
        (["NG/bent", "OK", "NG/masks/bent"], {"NG/masks/bent": (Role.MASK, "bent")}),
    ],
)
def test_what_names_say(paths, expected):
    groups = group([Place(tuple(path.split("/")), ["1.png"]) for path in paths])
    found = {"/".join(one.folder): (one.kind, one.defect) for one in groups}
    assert expected.items() <= found.items()
