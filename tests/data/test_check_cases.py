"""What fails or is lost later, `check` tells: each of these once passed it."""

import os
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from broken import draw, draw_mask, good_class
from PIL import Image
from trees import ROOT

from hgad_jax.cli import check as command
from hgad_jax.data import folder, screen
from hgad_jax.data.__main__ import main
from hgad_jax.errors import UserError


@pytest.fixture
def nut(tmp_path):
    """A sound class in a sound folder."""
    return good_class(tmp_path / "parts" / "nut", 0)


def checked(capfd, *arguments):
    """Status and what was printed, each problem on one line."""
    status = main(["check", *map(str, arguments)])
    said = capfd.readouterr()
    assert "Traceback" not in said.err, said.err
    return status, re.sub(r"\n +", " ", said.out + said.err)


def found(capfd, nut, pattern, *arguments, status=1):
    got, said = checked(capfd, nut.parent, *arguments)
    assert re.search(pattern, said), said
    assert got == status, said
    return said


def test_a_sound_class_is_sound(nut, capfd):
    found(capfd, nut, "No problems found.", status=0)


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_images(count, nut, capfd):
    good_class(nut.parent / "bolt", 1000, count=count)
    found(capfd, nut, rf"Class 'bolt' has {count} good images, expected at least 4: .*Add images")


def test_too_few_images_that_are_not_copies(nut, capfd):
    bolt = good_class(nut.parent / "bolt", 1000, count=3)
    images = list((bolt / "train" / "good").iterdir())
    for i in range(3):
        (bolt / "train" / "good" / f"{i}.png").write_bytes(images[i].read_bytes())
    said = found(capfd, nut, r"Class 'bolt' has 3 different good images, expected at least 4")
    assert "3 images are there more than once" in said


def test_too_many_classes(tmp_path, capfd):
    root = tmp_path / "parts"
    seeds = iter(range(1000))
    for name in range(41):
        for i in range(4):
            draw(root / f"{name:02}" / "train" / "good" / f"{i}.png", next(seeds), size=(4, 4))
    status, said = checked(capfd, root)
    assert status == 1
    assert re.search(
        r"41 classes, but the tap 'blocks\.2' of tf_efficientnet_lite0 has only 40 channels", said
    )
    assert checked(capfd, root, "--config.data.class_name=07")[0] == 0
    (root / "40").rename(root.parent / "40")
    assert checked(capfd, root)[0] == 0


def test_whatever_decoding_for_training_refuses_is_told(nut, capfd, monkeypatch):
    decode = screen.decode

    def refusing(image, **options):
        if str(image).endswith("g.bmp"):
            raise UserError(f"'{image}' has 20 pages.")
        return decode(image, **options)

    monkeypatch.setattr(screen, "decode", refusing)
    found(capfd, nut, r"1\. '.*g\.bmp' has 20 pages")


def test_masks_in_folders_are_used(nut, capfd):
    truth = nut / "ground_truth" / "kratzer tief"
    for i in range(2):
        (truth / f"{i}").mkdir()
        (truth / f"{i}_mask.png").rename(truth / f"{i}" / "000.png")
    draw_mask(truth / "1" / "001.png")
    found(capfd, nut, r"kratzer tief +2 +2", status=0)


def test_images_in_folders_within_a_defect_are_used(nut, capfd):
    test = nut / "test" / "kratzer tief"
    (test / "cam 1").mkdir()
    (test / "0.JPG").rename(test / "cam 1" / "0.JPG")
    found(capfd, nut, r"kratzer tief +2 +2", status=0)


@pytest.mark.parametrize("suffix", [".webp", ".jfif", ".jpe", ".WebP"])
def test_suffixes_that_cameras_and_browsers_write_are_read(suffix, nut, capfd):
    kind = "WEBP" if "web" in suffix.lower() else "JPEG"
    with Image.open(draw(nut.parent.parent / "x.png", 5)) as image:
        image.save(nut / "train" / "good" / f"x{suffix}", kind)
    found(capfd, nut, r"nut +train +good +7 ", status=0)
    os.rename(nut / "train" / "good" / f"x{suffix}", nut / "train" / "good" / "x.png")
    found(capfd, nut, rf"(?i)x\.png' is a {kind} file by its content but not by its name")


def test_images_that_are_left_out_because_of_their_suffix_are_told(nut, capfd):
    good = nut / "train" / "good"
    pixels = Image.fromarray(np.eye(9, dtype=np.uint8))
    for name in ("a.gif", "b.gif", "c.jp2", "d.pgm"):
        pixels.save(good / name)
    (good / "e.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (good / "f").write_bytes((good / "Bild 00 ä.PNG").read_bytes())
    (good / "notes.txt").write_text("no image")
    os.mkfifo(good / "pipe")  # reading it would wait for ever
    said = found(
        capfd, nut, r"not read because of their suffix \(\.gif\): they are GIF files: .*a\.gif' .*b\.gif'"
    )
    for suffix, kind in ((".jp2", "JPEG 2000"), (".pgm", "PNM"), (".HEIC", "HEIC"), ("none", "PNG")):
        assert f"({suffix}): they are {kind} files" in said
    assert re.search(r"Passed over, 2 that .*notes\.txt', '.*pipe'", said)
    with pytest.raises(UserError, match=r"they are GIF files"):
        folder.load(str(nut.parent))
    assert len(folder.load(str(nut.parent), on_error="skip").train) == 6


def test_inverted_masks(nut, capfd):
    for i in range(2):
        path = nut / "ground_truth" / "kratzer tief" / f"{i}_mask.png"
        with Image.open(path) as mask:
            inverted = 1 - (np.asarray(mask) > 0)
        Image.fromarray((inverted * 255).astype(np.uint8)).save(path)
    found(capfd, nut, r"2 masks mark most of their image: '.*0_mask.png' '.*1_mask.png' Are they inverted\?")


def test_one_mask_of_everything_is_told_and_a_large_defect_is_not(nut, capfd):
    draw(nut / "test" / "kratzer tief" / "2.png", 77)
    for i, rows in ((1, 12), (2, 18)):
        mask = np.zeros((18, 24), np.uint8)
        mask[:rows] = 1
        Image.fromarray(mask).save(nut / "ground_truth" / "kratzer tief" / f"{i}_mask.png")
    found(capfd, nut, r"2 masks mark most of their image: .*2_mask\.png'")
    mask[12:] = 0
    Image.fromarray(mask[::-1]).save(nut / "ground_truth" / "kratzer tief" / "2_mask.png")
    draw(nut / "test" / "kratzer tief" / "3.png", 78)
    draw_mask(nut / "ground_truth" / "kratzer tief" / "3_mask.png")
    found(capfd, nut, "No problems found", status=0)


def test_masks_in_another_unicode_form(nut, capfd):
    draw(nut / "test" / "kratzer tief" / "größe.png", 77)
    draw_mask(nut / "ground_truth" / "kratzer tief" / unicodedata.normalize("NFD", "größe_mask.png"))
    found(capfd, nut, r"kratzer tief +3 +3", status=0)


def test_masks_of_two_values_are_told_by_their_content(nut, capfd):
    """x.JPG and its mask x.png; and an image that is called a mask and looks like one."""
    draw_mask(nut / "test" / "kratzer tief" / "0.png")
    draw_mask(nut / "train" / "good" / "part_label.png", value=7)
    folder_of = nut / "ground_truth" / "kratzer tief"
    (folder_of / "0_mask.png").unlink()
    (folder_of / "1_mask.png").unlink()
    folder_of.rmdir()
    folder_of.parent.rmdir()
    said = found(
        capfd, nut, r"2 images are masks: of two values, beside an image of the same name or called so"
    )
    assert re.search(r"'.*part_label\.png' '.*0\.png'", said)


def test_two_colours_alone_are_a_warning(nut, capfd):
    draw_mask(nut / "train" / "good" / "x.png")
    Image.new("RGB", (24, 18)).save(nut / "train" / "good" / "y.png")
    found(capfd, nut, r"2 images have no more than two colours: .*x\.png' .*y\.png' Look at them")


def test_no_good_or_no_defective_test_images_are_told(nut, capfd):
    (nut / "test" / "good" / "g.bmp").unlink()
    found(capfd, nut, r"test images of 'nut' some are defective and none good: image metrics", status=0)
    bolt = good_class(nut.parent / "bolt", 1000)
    for place in ("test/kratzer tief", "ground_truth"):
        (bolt / place).rename(nut.parent.parent / place.replace("/", "_"))
    found(capfd, nut, r"test images of 'bolt' some are good and none defective", status=0)


def test_the_rate_of_false_alarms_is_told_as_a_number_of_images(nut, capfd):
    wanted = "25.0% instead of 1.0% for nut .3 held out.* 99 images of a class .*654 good images"
    found(capfd, nut, wanted, status=0)
    given = "--config.calibration.false_alarm_rate=0.25"
    said = found(capfd, nut, "No problems found", given, status=0)
    assert "False alarms" not in said
    said = found(capfd, nut, "No problems found", "--config.scoring.threshold=1.5", status=0)
    assert "False alarms" not in said


def test_a_batch_larger_than_all_images_is_told(nut, capfd):
    found(
        capfd, nut, r"batch_size is 64, more than the 3 images to train on: 16 epochs are 1 steps", status=0
    )


def test_images_much_larger_than_the_model_sees_are_told(nut, capfd):
    draw(nut / "train" / "good" / "large.png", 5, size=(1600, 1200))
    said = found(
        capfd, nut, r"1 of 10 images are made smaller .*1600×1200 pixels.* 5×5 pixels become one", status=0
    )
    assert "cuts" not in said
    found(
        capfd,
        nut,
        r"short_side_crop cuts more than a tenth away from 10 of 10 images",
        "--config.data.resize=short_side_crop",
    )


def test_64_duplicates_are_told_in_a_few_lines(nut, capfd, tmp_path):
    for i in range(64):
        draw(nut / "train" / "good" / f"{i:02}.png", 5000 + i)
        draw(nut / "train" / "good" / f"{i:02}_copy.png", 5000 + i)
    status, said = checked(capfd, nut.parent)
    assert status == 1
    assert "64 images are there more than once" in said
    assert "and 61 more" in said
    assert "--out=FILE writes the whole report" in said
    assert said.count("_copy.png") == 3
    status, said = checked(capfd, nut.parent, "--out", tmp_path / "new" / "report.txt")
    assert status == 1
    assert said.count("_copy.png") == 3
    assert (tmp_path / "new" / "report.txt").read_text().count("_copy.png") == 64


def test_many_files_with_the_same_trouble_are_told_in_a_few_lines(nut, capfd, tmp_path):
    for i in range(20):
        draw_mask(nut / "ground_truth" / "many" / f"{i}_mask.png", size=(30 + i, 30))
        draw(nut / "test" / "many" / f"{i}.png", i + 50)
    out = tmp_path / "report.txt"
    status, said = checked(capfd, nut.parent, f"--out={out}")
    assert status == 1
    assert said.count("they must be equal") == 1
    assert "20 files are of one kind" in said
    assert len(re.findall(r"many/\d+\.png'\n", out.read_text())) == 20


def test_a_report_that_cannot_be_written(nut, capfd, tmp_path):
    (tmp_path / "file").touch()
    found(capfd, nut, "error: --out=.*file/x cannot be written", f"--out={tmp_path}/file/x", status=2)


def test_names_with_line_ends_do_not_break_the_report(nut, capfd):
    (nut / "train" / "good" / "a\nb\x1b[31m.txt").touch()
    found(capfd, nut, r"Passed over, 1 .*a\\nb\\x1b\[31m\.txt'", status=0)


def test_a_folder_that_cannot_be_read(nut, capfd, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("kratzer tief"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found(capfd, nut, "error: '.*kratzer tief' may not be read: Input/output error", status=2)


def test_an_image_that_vanishes_or_changes_meanwhile(nut, capfd, monkeypatch):
    scan = command.own.scan

    def then_break(data):
        listing = scan(data)
        (nut / "train" / "good" / "Bild 00 ä.PNG").unlink()
        (nut / "train" / "good" / "Bild 01 ä.PNG").write_bytes(b"")
        return listing

    monkeypatch.setattr(command.own, "scan", then_break)
    said = found(capfd, nut, r"Bild 00 ä\.PNG' cannot be read: No such file")
    assert re.search(r"Bild 01 ä\.PNG' cannot be read as an image", said)


def test_settings_of_a_run_are_checked_with_it(nut, capfd):
    few = r"6 good images for the 2 groups of config\.data\.classes, expected 4 for each"
    said = found(capfd, nut, few, "--config.data.classes=cluster:2")
    assert "False alarms" not in said
    (nut / "test").rename(nut / "away")
    (nut / "ground_truth").rename(nut.parent.parent / "away")
    window = r"config\.eval\.window is \(1\.0, 2\.0\), expected \(\): there are no test images"
    found(capfd, nut, window, "--config=configs/hgad_folder.py", "--config.eval.window=(1.0,2.0)")


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--config.data.nonsense=1"], "error: --config.*nonsense"),
        (["--config=configs/none.py"], "error: --config.*none.py"),
        (["--config=configs/hgad_elpv.py"], "config.data.name is 'elpv'.*prepare elpv"),
        (["--config.data.root=/nowhere"], "error: '/nowhere' does not exist"),
        (["ROOT", "--config.train.epochs=-1"], "error: config.train.epochs is -1.0, expected at least 0"),
        (["ROOT", "--config.data.class_name=bolt"], "error: config.data.class_name is 'bolt'"),
    ],
)
def test_settings_that_are_wrong(arguments, pattern, nut, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    status, said = checked(capfd, *(nut.parent if a == "ROOT" else a for a in arguments))
    assert re.search(pattern, said), said
    assert status == 2


def test_the_folder_may_be_given_as_training_has_it(nut, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    given = ["--config=configs/hgad_folder.py", f"--config.data.root={nut.parent}"]
    assert checked(capfd, *given) == checked(capfd, nut.parent)


def test_a_fault_of_ours_has_a_status_of_its_own(nut, capfd, monkeypatch):
    def broken(*args, **settings):
        raise ZeroDivisionError("never")

    monkeypatch.setattr(command, "check", broken)
    assert main(["check", str(nut.parent)]) == 3
    said = capfd.readouterr().err
    assert "ZeroDivisionError: never" in said
    assert "error: This is a fault of hgad_jax" in said


@pytest.mark.parametrize("workers", ["-1", "many"])
def test_workers_that_are_no_number(workers, nut, capfd):
    with pytest.raises(SystemExit) as stop:
        main(["check", str(nut.parent), f"--workers={workers}"])
    assert stop.value.code == 2
    assert "--workers" in capfd.readouterr().err


def test_whoever_reads_the_report_may_stop(nut):
    line = f"'{sys.executable}' -m hgad_jax.data check '{nut.parent}' | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
