"""`python -m hgad_jax.data check` tells everything that is wrong, at once and by name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from broken import break_everything, draw, good_class
from PIL import Image

from hgad_jax.data.__main__ import main


@pytest.fixture(scope="module")
def broken_tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("broken") / "parts"
    return root, break_everything(root)


@pytest.fixture(scope="module")
def report(broken_tree):
    """The command as a user runs it."""
    root, _ = broken_tree
    return subprocess.run(
        [sys.executable, "-m", "hgad_jax.data", "check", str(root)], capture_output=True, text=True
    )


def test_status_is_1_with_problems(report):
    assert report.returncode == 1, report.stderr
    assert "Traceback" not in report.stderr


def test_every_problem_is_told_by_name(broken_tree, report):
    problems = report.stdout.split("problem(s):")[1]
    for kind, name in broken_tree[1].items():
        assert name in problems, kind


@pytest.mark.parametrize(
    "pattern",
    [
        r"cut\.png' cannot be read as an image.*Replace it",
        r"zero\.png' cannot be read as an image",
        r"jpeg\.png' is a JPEG file by its content.*suffix \.png is wrong",
        r"bomb\.png' is too large to be decoded safely",
        r"float\.tif' has 32-bit float pixels",
        r"link leads to something which does not exist: '.*leaf'",
        r"link leads out of '.*parts': '.*outside\.png'.*follow_links",
        r"class 'empty' has no good training images",
        r"1 masks without an image.*orphan_mask\.png.*Rename",
        r"4 defective images have a mask but 1 have none: '.*bare\.png'",
        r"size_mask\.png' has 24×19 pixels but its image '.*riss/size\.png' has 24×18",
        r"1 defective images have a mask without any defect: '.*blank\.png'",
        r"1 images are in train and in test.*Bild 00 ä\.PNG' = '.*leak\.png'",
        r"1 images are there more than once: '.*Bild 01 ä\.PNG' = '.*twin\.png'",
    ],
)
def test_a_problem_says_what_was_found_and_what_to_do(report, pattern):
    text = re.sub(r"\n +", " ", report.stdout)  # names are on lines of their own
    assert re.search(pattern, text), report.stdout


def test_a_sound_folder(tmp_path, capsys):
    root = tmp_path / "gute Teile"
    nut = good_class(root / "nut", 0)
    draw(nut / "train" / "good" / "grau.tif", 50, size=(10, 40), mode="L")
    sixteen = np.arange(24 * 18, dtype=np.uint16).reshape(18, 24) * 100
    Image.fromarray(sixteen).save(nut / "train" / "good" / "sixteen.Tiff")
    good_class(root / "bolt", 1000)
    (root / "notes.txt").touch()
    assert main(["check", str(root), "--workers", "2"]) == 0
    output = capsys.readouterr().out
    assert "2 class(es), 20 images" in output
    rows = {tuple(line.split("  ")[0:1]): line for line in output.splitlines()}
    assert rows
    (row,) = [line for line in output.splitlines() if re.match(r"nut +train +good ", line)]
    assert re.search(r"good +8 +- +10×40 to 24×18, 2 sizes +I;16 1, L 1, RGB 6$", row)
    (row,) = [line for line in output.splitlines() if re.match(r"bolt +test +kratzer tief ", line)]
    assert re.search(r"tief +2 +2 +24×18 +RGB 2$", row)
    assert "notes.txt" in output
    assert "No problems found." in output


def test_explicit_folders(tmp_path, capsys):
    good_class(tmp_path / "x", 0)
    base = tmp_path / "x"
    command = ["check", "--normal-dir", str(base / "train/good"), "--abnormal-dir"]
    command += [str(base / "test/kratzer tief"), "--mask-dir", str(base / "ground_truth/kratzer tief")]
    assert main(command) == 0
    assert re.search(r"kratzer tief +2 +2", capsys.readouterr().out)


def test_names_that_are_not_utf8_are_shown_escaped(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    Path(os.fsdecode(os.fsencode(nut / "train" / "good") + b"/Kratzer_\xfc.txt")).write_text("")
    command = [sys.executable, "-m", "hgad_jax.data", "check", str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONUTF8": "1"}, check=True)
    assert rb"Kratzer_\udcfc.txt" in done.stdout


@pytest.mark.parametrize("arguments", [["check", "/nowhere"], ["check"]])
def test_misuse_has_status_2(arguments, capsys):
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err


def test_links_are_followed_when_allowed(tmp_path):
    nut = good_class(tmp_path / "root" / "nut", 0)
    (nut / "train" / "good" / "link.png").symlink_to(draw(tmp_path / "outside.png", 77))
    assert main(["check", str(tmp_path / "root")]) == 1
    assert main(["check", str(tmp_path / "root"), "--follow-links"]) == 0
