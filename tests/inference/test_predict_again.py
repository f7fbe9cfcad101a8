"""Predictions that go on where earlier ones are: images that change, folders that meet, disks that fill."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from by_brightness import ByBrightness
from PIL import Image
from trees import save

from hgad_jax import files
from hgad_jax.errors import UserError
from hgad_jax.files import locked
from hgad_jax.inference import predict as module
from hgad_jax.inference.plain_names import original
from hgad_jax.inference.predict import predict
from hgad_jax.inference.prediction_files import Outputs, output_name

EVERYTHING = Outputs(heatmaps=True, maps="npy", contours=True)


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    monkeypatch.setattr(module.Predictor, "load", lambda *arguments, **settings: ByBrightness())


def run(out, *inputs, **settings):
    lines = []
    done = predict("run", list(map(str, inputs)), out, log=lines.append, **settings)
    return done, "\n".join(lines)


def rows(out):
    with (Path(out) / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def good(path):
    return save(path, np.full((20, 30), 100, np.uint8))


def defective(path):
    pixels = np.full((20, 30), 100, np.uint8)
    pixels[5:15, 5:15] = 255
    save(path, pixels)
    os.utime(path, ns=(1, 1))  # whatever the clock of the disk counts
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        good(tmp_path / "in" / f"{name}.png")
    return tmp_path


def test_another_image_under_the_same_name_is_scored(place):
    done, _ = run("out", "in", outputs=EVERYTHING)
    assert (done.scored, done.anomalous) == (3, 0)
    before = {path.name: path.read_bytes() for path in (place / "out").rglob("*-*.*")}
    defective(place / "in" / "b.png")
    done, said = run("out", "in", outputs=EVERYTHING)
    assert (done.scored, done.changed, done.skipped, done.anomalous) == (1, 1, 2, 1)
    assert "1 images scored (1 of them again, since they have changed), 2 scored before: 1 anomalous" in said
    assert {row["path"]: row["anomalous"] for row in rows("out")} == {
        "in/a.png": "false",
        "in/c.png": "false",
        "in/b.png": "true",
    }
    assert len(rows("out")) == 3
    after = {path.name: path.read_bytes() for path in (place / "out").rglob("*-*.*")}
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        f"{output_name(str(place / 'in' / 'b.png'))}.{suffix}" for suffix in ("png", "npy", "json")
    }
    assert run("out", "in", outputs=EVERYTHING)[0].scored == 0


def test_one_image_has_one_row_however_it_is_spelled(place, monkeypatch):
    run("out", "in/a.png")
    for spelling in ("./in/a.png", place / "in" / "a.png", "in/../in/a.png"):
        assert run("out", spelling)[0].scored == 0
    monkeypatch.chdir("in")
    assert run("../out", "a.png")[0].scored == 0
    assert [row["path"] for row in rows("../out")] == ["in/a.png"]


def test_images_of_two_lines_that_are_spelled_alike_are_two(place, monkeypatch):
    good(place / "line1" / "000.png")
    defective(place / "line2" / "000.png")
    for line in ("line1", "line2"):
        monkeypatch.chdir(place / line)
        assert run(place / "out", ".", outputs=Outputs(maps="npy"))[0].scored == 1
    found = rows(place / "out")
    assert [(row["path"], row["anomalous"]) for row in found] == [
        ("./000.png", "false"),
        ("./000.png", "true"),
    ]
    assert [row["file"] for row in found] == [str(place / line / "000.png") for line in ("line1", "line2")]
    assert len(list((place / "out" / "maps").iterdir())) == 2


def test_a_kill_before_the_new_row_leaves_no_row_of_the_old_image(place, monkeypatch):
    class Killed(BaseException):
        pass

    run("out", "in")
    defective(place / "in" / "b.png")

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(module.ScoreTable, "append", kill)
        with pytest.raises(Killed):
            run("out", "in")
    assert [row["path"] for row in rows("out")] == ["in/a.png", "in/c.png"]
    assert run("out", "in")[0].anomalous == 1
    assert len(rows("out")) == 3


def test_an_image_that_changes_while_it_is_read_is_scored_again(place, monkeypatch):
    load = module.load

    def then_change(path, transform):
        loaded = load(path, transform)
        if "b.png" in path:
            defective(Path(path))
        return loaded

    with monkeypatch.context() as patched:
        patched.setattr(module, "load", then_change)
        assert run("out", "in")[0].anomalous == 0
    done, _ = run("out", "in")
    assert (done.changed, done.anomalous) == (1, 1)


def test_an_image_that_can_no_longer_be_read_has_no_row(place):
    run("out", "in")
    (place / "in" / "b.png").write_text("cut off")
    done, _ = run("out", "in")
    assert (done.scored, done.changed, done.unreadable) == (0, 0, 1)
    assert [row["path"] for row in rows("out")] == ["in/a.png", "in/c.png"]
    assert "b.png" in (place / "out" / "unreadable.txt").read_text()
    good(place / "in" / "b.png")
    assert run("out", "in")[0].scored == 1


def test_an_image_that_goes_away_is_listed(place, monkeypatch):
    listed = module.list_images

    def then_remove(inputs):
        found = listed(inputs)
        (place / "in" / "b.png").unlink()
        return found

    monkeypatch.setattr(module, "list_images", then_remove)
    done, _ = run("out", "in")
    assert (done.scored, done.unreadable) == (2, 1)
    assert "in/b.png': No such file" in (place / "out" / "unreadable.txt").read_text()


def test_two_at_once_in_one_folder(place):
    run("out", "in/a.png")
    before = (place / "out" / "scores.csv").read_bytes()
    with (
        locked(place / "out" / ".predict.lock"),
        pytest.raises(UserError, match=r"Another predict\.py writes to .*/out: wait for it, end"),
    ):
        run("out", "in")
    assert (place / "out" / "scores.csv").read_bytes() == before
    assert run("out", "in")[0].scored == 2


def test_an_evaluation_into_the_same_folder_is_not_waited_for(place):
    (place / "out").mkdir()
    with locked(place / "out" / ".eval.lock"):
        assert run("out", "in")[0].scored == 3


HOLD = """
import sys, time
from hgad_jax.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_leaves_no_lock(place):
    run("out", "in/a.png")
    command = [sys.executable, "-c", HOLD, str(place / "out" / ".predict.lock")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UserError, match="Another predict"):
                run("out", "in")
        finally:
            holder.kill()
    assert run("out", "in")[0].scored == 2


@pytest.mark.parametrize("out", ["in", "."])
def test_results_may_lie_with_the_images(place, out):
    """In the same folder, and in the one above: every image is scored, and no result is."""
    for name in ("below/d.png", "maps/e.png", "heatmaps/f.png"):
        good(place / "in" / name)
    done, said = run(out, "in", outputs=EVERYTHING)
    assert (done.scored, done.skipped) == (6, 0)
    assert "left out" not in said
    done, said = run(out, "in", outputs=EVERYTHING)
    assert (done.scored, done.skipped) == (0, 6)
    assert ("7 images that predict.py wrote" in said) == (out == "in"), "six heat maps and their scale"
    done, said = run("elsewhere", ".", outputs=EVERYTHING)
    assert done.scored == 6
    assert "7 images that predict.py wrote, results of earlier predictions: left out" in said


def test_names_of_any_bytes_leave_every_file_readable(place):
    names = ["two\nlines.png", 'comma, "quote".png', os.fsdecode(b"\xff.png")]
    for name in names:
        good(place / "odd" / name)
    broken = os.fsdecode(b"bro\nken \xfe.png")
    (place / "odd" / broken).write_text("")
    done, said = run("out", "odd", outputs=EVERYTHING)
    assert (done.scored, done.unreadable) == (3, 1)
    assert sorted(original(row["path"]) for row in rows("out")) == sorted(f"odd/{name}" for name in names)
    (line,) = (place / "out" / "unreadable.txt").read_text(encoding="utf-8").splitlines()
    assert line.startswith("'odd/bro\\nken \\xfe.png' cannot be read")
    assert broken in original(line)
    assert line in said
    paths = [
        json.loads(path.read_text(encoding="utf-8"))["path"] for path in (place / "out/contours").iterdir()
    ]
    assert sorted(map(original, paths)) == sorted(f"odd/{name}" for name in names)
    assert run("out", "odd", outputs=EVERYTHING)[0].scored == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no disk that is always full")
@pytest.mark.parametrize(
    "outputs",
    [Outputs(heatmaps=True), Outputs(maps="npy"), Outputs(maps="png16"), Outputs(contours=True)],
)
def test_a_full_disk_is_the_users_to_mend(place, outputs, monkeypatch):
    @contextlib.contextmanager
    def full(path, **settings):
        with writing(path, **settings) if "b-" not in path.name else open("/dev/full", "wb") as file:
            yield file

    writing = files.writing
    with monkeypatch.context() as patched:
        patched.setattr(files, "writing", full)
        with pytest.raises(UserError, match=r"cannot be written .*: the disk is full .*Make room there"):
            run("out", "in", outputs=outputs)
    assert rows("out") == []
    assert run("out", "in", outputs=outputs)[0].scored == 3


def test_what_a_kill_left_of_a_file_is_removed(place):
    run("out", "in", outputs=EVERYTHING)
    left = [place / "out" / name / f".x.png.{'0' * 32}.tmp" for name in ("heatmaps", "maps", "contours", ".")]
    for path in left:
        path.write_bytes(b"half of it")
    run("out", "in", outputs=EVERYTHING)
    assert not any(path.exists() for path in left)


def test_raw_maps_are_as_numpy_saves_them(place):
    run("out", "in/a.png", outputs=Outputs(maps="npy"))
    (path,) = (place / "out" / "maps").iterdir()
    np.save(place / "again.npy", np.load(path), allow_pickle=False)
    assert path.read_bytes() == (place / "again.npy").read_bytes()
    with Image.open(place / "in" / "a.png") as image:
        assert np.load(path).shape == image.size[::-1]


def test_the_home_folder(place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    assert run("~/out", "~/in")[0].scored == 3
    assert len(rows(place / "out")) == 3
    assert not (place / "~").exists()


def test_the_folder_of_results_may_be_moved_with_nothing_lost(place):
    run("out", "in", outputs=EVERYTHING)
    shutil.move("out", "moved")
    assert run("moved", "in", outputs=EVERYTHING)[0].skipped == 3
