"""Prediction on new images: the table, what else is written, kills, unreadable files, and from Python."""

import contextlib
import csv
import functools
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from trees import LITE0, PYTHON, ROOT, SIDE, add_class, crop, save, tiny_config

from hgad_jax.errors import UserError
from hgad_jax.inference import predict as module
from hgad_jax.inference.inputs import InputImage, State, list_images
from hgad_jax.inference.plain_names import original
from hgad_jax.inference.predict import predict
from hgad_jax.inference.prediction_files import Outputs
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.score_table import COLUMNS, Row, ScoreTable
from hgad_jax.scoring.threshold import normalized
from hgad_jax.training.loop import train


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run over two classes, calibrated for every mode, and new images of them in folders."""
    place = tmp_path_factory.mktemp("predict")
    for name in ("brick", "grass"):
        add_class(place / "data", name)
    settings = {"train__epochs": 0.0, "scoring__classes": "mixture"}
    train(tiny_config(place / "data", **settings, **LITE0), place / "run")
    rng = np.random.default_rng(7)
    for number, name in enumerate(("brick", "grass")):
        for i in range(3):
            save(place / "new" / name / f"{i}.png", crop(name, rng))
        image = crop(name, rng)
        image[10:30, 20:44] = 255
        save(place / "new" / name / "defect.png", image.repeat(2, 0)[: 100 + number])  # not square
    return place


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Compiled programs are kept from one test to the next; the script's test loads anew."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Predictor, "load", functools.cache(Predictor.load))
        yield


@pytest.fixture(scope="module")
def predictor(place):
    return Predictor.load(place / "run", classes="inferred")


def rows(out):
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixel_threshold(predictor, row):
    return predictor.decision.pixel_thresholds[predictor.scorer.classes.index(row["class"])]


def run(place, out, *inputs, **options):
    lines = []
    images = [str(i) for i in inputs or [place / "new"]]
    options = {"classes": "inferred"} | options
    done = predict(place / "run", images, out, log=lines.append, **options)
    return done, "\n".join(lines)


@pytest.mark.parametrize("image", [[[1, 2], [3, 4]], b"\x89PNG", None, 7, np.zeros((4, 4, 2), np.uint8)])
def test_what_is_no_image_is_refused(predictor, image):
    with pytest.raises(UserError, match="The image given"):
        predictor(image)


@pytest.fixture(scope="module")
def everything(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("everything")
    done, said = run(place, out, outputs=Outputs(heatmaps=True, maps="npy", contours=True))
    return out, done, said


def test_the_table_has_a_row_per_image(place, everything):
    out, done, said = everything
    found = rows(out)
    assert tuple(found[0]) == COLUMNS
    assert COLUMNS[:5] == ("path", "class", "score", "threshold", "anomalous")
    paths = sorted(str(path) for path in (place / "new").rglob("*.png"))
    assert sorted(row["path"] for row in found) == paths
    assert done.scored == len(found) == 8
    assert done.unreadable == done.skipped == 0
    for row in found:
        assert row["class"] == os.path.basename(os.path.dirname(row["path"]))
        above = float(row["score"]) > float(row["threshold"])
        assert row["anomalous"] == str(above).lower()
        assert 0 < float(row["p_value"]) <= 1
        assert (float(row["p_value"]) <= 0.2) == above, "of four images the highest is the threshold"
        assert row["unknown"] in ("true", "false")
        assert (float(row["normalized"]) > 0.5) == above
        assert 0.5 < float(row["class_probability"]) < 1
    defects = [row for row in found if "defect" in row["path"]]
    assert [row["anomalous"] for row in defects] == ["true", "true"]
    assert done.anomalous == sum(row["anomalous"] == "true" for row in found)
    assert "false alarms promised" in said
    assert "1.00% needs 99 good images" in said, "four images a class are too few for one percent"


def test_from_python_the_same_as_in_the_table(everything, predictor):
    """An image alone, by path, opened, encoded and as an array, scores as it did among others."""
    out, _, _ = everything
    for row in rows(out)[::3]:
        opened = Image.open(row["path"])
        pixels = np.asarray(opened)
        encoded = io.BytesIO(Path(row["path"]).read_bytes())
        for image in (row["path"], Path(row["path"]), opened, pixels, jnp.asarray(pixels), encoded, encoded):
            found = predictor(image)
            assert found.score == pytest.approx(float(row["score"]), rel=1e-5, abs=1e-5)
            assert found.threshold == pytest.approx(float(row["threshold"]), rel=1e-5)
            assert str(found.anomalous).lower() == row["anomalous"]
            assert (found.class_name, found.map.shape) == (row["class"], opened.size[::-1])
            saved = np.load(out / "maps" / f"{row['output']}.npy")
            np.testing.assert_allclose(found.map, saved, rtol=1e-5, atol=1e-4)
    # Features that went through a cache: arrays on the disk, read back.
    scorer = predictor.scorer
    detailed = (2 * SIDE, 2 * SIDE)
    square = np.asarray(Image.open(rows(out)[0]["path"]).convert("RGB").resize(detailed))
    features = scorer.levels.apply(scorer.levels.variables, square[None])
    np.savez(out / "features.npz", *features)
    with np.load(out / "features.npz") as stored:
        exported = scorer.calibrated(scorer.features_evidence([stored[name] for name in stored.files]))
    direct = scorer.calibrated(scorer.evidence(square[None]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), exported, direct)


def test_heat_maps_are_coloured_where_the_defect_is_and_pale_elsewhere(everything, predictor):
    out, _, _ = everything
    with Image.open(out / "heatmaps" / "scale.png") as scale:
        assert scale.size[0] > 100
    for row in rows(out):
        shown = np.asarray(Image.open(out / "heatmaps" / f"{row['output']}.png"), float)
        original = np.asarray(Image.open(row["path"]).convert("RGB"), float)
        values = np.load(out / "maps" / f"{row['output']}.npy")
        threshold = pixel_threshold(predictor, row)
        assert shown.shape == original.shape
        coloured = np.abs(shown - original).max(-1) > 40
        relative = (values - threshold.typical) / (threshold.value - threshold.typical)
        assert not coloured[relative < 0.5].any()
        if "defect" in row["path"]:
            assert coloured[relative > 2].mean() > 0.9
            assert (relative > 2).any()


def test_contours_are_those_of_the_map(everything, predictor):
    out, _, _ = everything
    for row in rows(out):
        content = json.loads((out / "contours" / f"{row['output']}.json").read_text())
        with Image.open(row["path"]) as image:
            image.load()
        assert (content["height"], content["width"]) == image.size[::-1]
        decided = predictor(image)
        assert content["threshold"] == pytest.approx(decided.map_threshold)
        points = [p for region in content["regions"] for p in region["outline"]]
        if "defect" in row["path"]:
            assert points
        assert all(0 <= x <= content["width"] and 0 <= y <= content["height"] for x, y in points)
        share = sum(region["area"] for region in content["regions"]) / (image.width * image.height)
        assert share == pytest.approx(np.mean(decided.map > decided.map_threshold), abs=0.03)


def test_raw_maps_in_sixteen_bits(place, predictor, tmp_path):
    run(place, tmp_path, place / "new" / "brick" / "defect.png", outputs=Outputs(maps="png16"))
    (row,) = rows(tmp_path)
    stored = np.asarray(Image.open(tmp_path / "maps" / f"{row['output']}.png"))
    expected = predictor(row["path"])
    assert stored.dtype == np.uint16
    threshold = pixel_threshold(predictor, row)
    np.testing.assert_allclose(stored / 65535, normalized(expected.map, threshold), atol=1e-4)
    assert "32768" in json.loads((tmp_path / "predict.json").read_text())["png16"]


class Killed(BaseException):
    pass


def kill_after(monkeypatch, batches):
    append = module.ScoreTable.append

    def dying(self, found):
        append(self, found)
        dying.left -= 1
        if not dying.left:
            raise Killed

    dying.left = batches
    monkeypatch.setattr(module.ScoreTable, "append", dying)


def test_a_killed_run_goes_on_without_double_rows(place, everything, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_after(patched, 1)
        with pytest.raises(Killed):
            run(place, tmp_path)
    assert len(rows(tmp_path)) == 4
    with (tmp_path / "scores.csv").open("a", encoding="utf-8") as file:
        file.write(f"{place}/new/grass/0.png,gra")  # the last row was on its way
    done, said = run(place, tmp_path)
    assert (done.scored, done.skipped) == (4, 4)
    assert "4 scored before" in said
    assert [r["path"] for r in rows(tmp_path)] == [r["path"] for r in rows(everything[0])]
    for mine, other in zip(rows(tmp_path), rows(everything[0]), strict=True):
        assert float(mine["score"]) == pytest.approx(float(other["score"]), rel=1e-5)
    before = (tmp_path / "scores.csv").read_bytes()
    assert run(place, tmp_path)[0].scored == 0
    assert (tmp_path / "scores.csv").read_bytes() == before


def test_unreadable_files_are_listed_and_the_others_scored(place, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(place / "new" / "brick", images)
    (images / "1.png").write_bytes((images / "1.png").read_bytes()[:300])
    (images / "text.png").write_text("no image")
    (images / "line\nbreak.png").write_text("no image either")
    (images / "notes.txt").write_text("")
    out = tmp_path / "out"
    done, said = run(place, out, images)
    assert (done.scored, done.unreadable) == (3, 3)
    assert len(rows(out)) == 3
    listed = (out / "unreadable.txt").read_text()
    for name in ("1.png", "text.png", "line\\nbreak.png"):
        assert name in listed
        assert name in said
    assert "1 files in the folders given are no images" in said
    for name in ("1.png", "text.png", "line\nbreak.png"):
        (images / name).unlink()
    shutil.copy(place / "new" / "brick" / "1.png", images)
    done, _ = run(place, out, images)
    assert (done.scored, done.skipped, done.unreadable) == (1, 3, 0)
    assert not (out / "unreadable.txt").exists()


def test_names_neither_collide_nor_leave_the_folder_nor_compute(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = place / "new" / "brick" / "0.png"
    names = ["a/x.png", "b/x.png", "=1+1.png", "@sum.png", "-2.png", "a/ü und ö,\"'.PNG", "...png"]
    for name in names[:-1]:
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        shutil.copy(source, name)
    shutil.copy(source, os.fsencode("not utf-8 \udcff.png"))
    found = ["=1+1.png", "@sum.png", "-2.png", "a", "b", "not utf-8 \udcff.png", "a/../a/x.png"]
    done, _ = run(place, tmp_path / "out", *found, outputs=Outputs(maps="npy"))
    assert done.scored == 7, "an image that is meant twice is scored once"
    table = rows(tmp_path / "out")
    assert not any(row["path"].startswith(("=", "+", "-", "@")) for row in table)
    assert {"./=1+1.png", "./@sum.png", "./-2.png"} <= {row["path"] for row in table}
    assert all(os.path.samefile(original(row["path"]), original(row["file"])) for row in table)
    files = {path.name for path in (tmp_path / "out" / "maps").iterdir()}
    assert files == {f"{row['output']}.npy" for row in table}
    assert len(files) == 7
    done, _ = run(place, tmp_path / "out", *found, outputs=Outputs(maps="npy"))
    assert (done.scored, done.skipped) == (0, 7)


def test_results_in_the_folder_of_the_images_are_no_images(place, tmp_path):
    shutil.copytree(place / "new" / "brick", tmp_path / "images")
    out = tmp_path / "images" / "out"
    for expected in (4, 0):
        assert run(place, out, tmp_path / "images", outputs=Outputs(heatmaps=True))[0].scored == expected
        pattern = tmp_path / "images" / "**" / "*.png"
    assert run(place, out, pattern, outputs=Outputs(heatmaps=True))[0].scored == 0


def test_links_to_folders_are_followed_once(place, tmp_path):
    shutil.copytree(place / "new" / "brick", tmp_path / "elsewhere")
    images = tmp_path / "images"
    shutil.copytree(place / "new" / "grass", images / "below" / "deep")
    (images / "link").symlink_to(tmp_path / "elsewhere")
    (images / "same").symlink_to(tmp_path / "elsewhere")
    (images / "below" / "up").symlink_to("..")
    found = list_images([str(images)]).images
    parts = {os.path.relpath(os.path.dirname(image.path), images) for image in found}
    assert len(found) == 8
    assert parts == {"below/deep", "link"}


def test_a_folder_that_may_not_be_read_is_said(place, tmp_path, monkeypatch):
    shutil.copytree(place / "new", tmp_path / "images")
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("grass"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=r"images/grass' cannot be read: Permission denied"):
        list_images([str(tmp_path / "images")])


def test_the_name_of_a_class_is_no_formula_either(tmp_path, predictor):
    image = np.full((SIDE, SIDE), 99, np.uint8)
    table = ScoreTable(tmp_path, {})
    prediction = predictor(image)
    with contextlib.closing(table):
        for name, unknown in (("=A1", False), ("unknown", False), ("-5V", True)):
            found = prediction._replace(class_name=name, unknown=unknown)
            table.append([Row(InputImage("x.png", f"/{name}.png"), State("1", "now"), found)])
    found = rows(tmp_path)
    assert [row["class"] for row in found] == ["'=A1", "unknown", "'-5V"]
    assert [row["unknown"] for row in found] == ["false", "false", "true"]
    assert [row["note"] for row in found] == ["", "", "unlike any class of the model; scored as the nearest"]


def test_arrays_of_opencv_are_told_by_their_order_of_channels(place, predictor):
    path = place / "new" / "brick" / "0.png"
    rgb = np.asarray(Image.open(path).convert("RGB")).copy()
    rgb[..., 0] //= 2  # so that the order matters
    expected = predictor(rgb)
    assert predictor(rgb[..., ::-1], channels="bgr").score == expected.score
    assert predictor(rgb[..., ::-1]).score != pytest.approx(expected.score, rel=1e-3)
    bgra = np.concatenate([rgb[..., ::-1], np.full_like(rgb[..., :1], 255)], -1)
    assert predictor(bgra, channels="bgr").score == expected.score
    grey = rgb[..., 1]
    assert predictor(grey, channels="bgr").score == predictor(grey).score
    with pytest.raises(UserError, match=r"channels is 'gbr', expected 'rgb' or 'bgr'"):
        predictor(rgb, channels="gbr")
    with pytest.raises(UserError, match="channels='bgr' is for arrays"):
        predictor(path, channels="bgr")


def test_patterns_and_what_is_not_there(place, tmp_path):
    assert run(place, tmp_path / "a", place / "new" / "*" / "[01].png")[0].scored == 4
    for given, pattern in (
        (place / "nowhere", "nowhere does not exist"),
        (place / "new" / "*.jpg", "matches no file"),
        (tmp_path / "a", "No images in .*expected files ending in"),
    ):
        with pytest.raises(UserError, match=pattern):
            run(place, tmp_path / "b", given)
    assert not (tmp_path / "b").exists()


def test_thresholds_may_be_given(place, tmp_path):
    done, _ = run(place, tmp_path / "low", threshold="-1e9")
    assert done.anomalous == 8
    done, said = run(place, tmp_path / "high", threshold="1e9")
    assert done.anomalous == 0
    assert "manual" in said
    done, said = run(place, tmp_path / "best", threshold="f1_max")
    assert "f1_max" in said
    assert {row["anomalous"] for row in rows(tmp_path / "best") if "defect" in row["path"]} == {"true"}
    _, said = run(place, tmp_path / "rate", false_alarm_rate=0.3)
    assert "20.00% false alarms promised" in said, "one of five"
    with pytest.raises(UserError, match="threshold is 'high', expected 'tail', 'conformal' or a finite"):
        run(place, tmp_path / "none", threshold="high")


@pytest.fixture
def manual(place, tmp_path):
    """The same run, with a threshold by hand in its config."""
    shutil.copytree(place / "run", tmp_path / "manual")
    config = json.loads((tmp_path / "manual" / "config.json").read_text())
    config["scoring"]["threshold"] = "1e9"
    (tmp_path / "manual" / "config.json").write_text(json.dumps(config))
    return tmp_path / "manual"


def test_a_threshold_of_the_config_may_be_taken_back(place, manual, tmp_path, predictor):
    images = [str(place / "new" / "brick")]
    quiet = {"classes": "inferred", "log": lambda line: None}
    done = predict(manual, images, tmp_path / "a", **quiet)
    assert (done.scored, done.anomalous) == (4, 0)
    done = predict(manual, images, tmp_path / "b", threshold="conformal", **quiet)
    assert done.anomalous > 0
    assert {row["threshold"] for row in rows(tmp_path / "b")} <= {
        f"{t.value:.6g}" for t in predictor.decision.thresholds
    }
    _, said = run(place, tmp_path / "number", threshold=14.5)
    assert "14.5 (manual)" in said
    with pytest.raises(UserError, match=r"threshold is set to 1e9, whatever its rate.*--threshold=tail"):
        predict(manual, images, tmp_path / "c", false_alarm_rate=0.3)
    with pytest.raises(UserError, match="threshold is set to 7, whatever its rate"):
        predict(place / "run", images, tmp_path / "d", threshold="7", false_alarm_rate=0.3)


def test_thresholds_from_a_dataset_that_has_grown_a_class(place, tmp_path):
    shutil.copytree(place / "data", tmp_path / "data")
    shutil.copytree(place / "run", tmp_path / "run")
    add_class(tmp_path / "data", "gravel", good=4, test=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["data"]["root"] = str(tmp_path / "data")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"does not know the class\(es\) gravel"):
        predict(tmp_path / "run", [str(place / "new")], tmp_path / "out", threshold="f1_max")


@pytest.mark.parametrize("of", ["image", "strangeness", "maps"])
def test_scores_that_are_no_numbers_are_refused(place, predictor, tmp_path, monkeypatch, of):
    def broken(evidence, boxes):
        scores = jax.device_get(predictor.scorer.calibrated(evidence, boxes))
        values = np.array(getattr(scores, of))
        values[0] = np.nan
        return scores._replace(**{of: values})

    whole = predictor.scorer.by_good_images._replace(calibrated=broken)
    bad = predictor._replace(scorer=predictor.scorer._replace(by_good_images=whole))
    monkeypatch.setattr(module.Predictor, "load", lambda *args, **kwargs: bad)
    with pytest.raises(UserError, match=r"new/brick/0\.png' gets scores that are not finite"):
        run(place, tmp_path)
    with pytest.raises(UserError, match="image 1 of 1' gets scores that are not finite"):
        bad(place / "new" / "brick" / "0.png")


def test_a_class_may_be_named(place, tmp_path):
    done, _ = run(place, tmp_path, place / "new" / "grass", class_name="brick")
    assert done.scored == 4
    assert {row["class"] for row in rows(tmp_path)} == {"brick"}
    with pytest.raises(UserError, match="no class 'cable'; it knows brick, grass"):
        run(place, tmp_path / "b", class_name="cable")


@pytest.mark.parametrize("mode", ["given", "inferred", "mixture"])
def test_a_class_named_from_python_is_the_same_as_on_the_command_line(place, tmp_path, mode):
    """Images of the class, which are good, and of another product, which are not."""
    run(place, tmp_path, class_name="brick", outputs=Outputs(maps="npy"))
    predictor = Predictor.load(place / "run", classes=mode)
    for row in rows(tmp_path)[::2]:
        found = predictor(row["path"], class_name="brick")
        assert found.score == pytest.approx(float(row["score"]), rel=1e-5, abs=1e-5)
        assert found.threshold == pytest.approx(float(row["threshold"]), rel=1e-5)
        assert found.normalized == pytest.approx(float(row["normalized"]), abs=1e-5)
        assert (found.class_name, str(found.anomalous).lower()) == (row["class"], row["anomalous"])
        assert (found.class_name, str(found.unknown).lower()) == ("brick", row["unknown"])
        assert found.p_value == pytest.approx(float(row["p_value"]), rel=1e-2)
        np.testing.assert_allclose(found.map, np.load(tmp_path / "maps" / f"{row['output']}.npy"), atol=1e-4)
    assert {row["anomalous"] for row in rows(tmp_path) if "grass" in row["path"]} == {"true"}


def test_modes_differ_so_that_the_test_above_says_something(place, predictor):
    mixture = Predictor.load(place / "run", classes="mixture")
    grass = str(place / "new" / "grass" / "0.png")
    assert mixture(grass).score < mixture(grass, class_name="brick").score - 1
    inferred, given = predictor.decision.thresholds, predictor.scorer.given.thresholds
    assert predictor(grass, class_name="grass").threshold == given[1].value
    assert predictor(grass).threshold == inferred[1].value
    lower = tuple(threshold._replace(value=threshold.value - 1) for threshold in given)
    by_good_images = predictor.scorer.by_good_images
    by_good_images = by_good_images._replace(given=by_good_images.given._replace(thresholds=lower))
    changed = predictor._replace(scorer=predictor.scorer._replace(by_good_images=by_good_images))
    assert changed(grass, class_name="grass").threshold == given[1].value - 1
    assert changed(grass).threshold == inferred[1].value


def test_a_product_that_the_model_does_not_know_is_said_to_be_unknown(place, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(4):
        stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
        stripes[:, :: i + 2, i % 3] = 255
        save(tmp_path / "other" / f"{i}.png", stripes)
        save(tmp_path / "other" / f"noise{i}.png", rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    done, said = run(place, tmp_path / "out", tmp_path / "other")
    assert done.unknown == 8
    assert "8 unlike any class" in said
    for row in rows(tmp_path / "out"):
        assert (row["unknown"], row["anomalous"]) == ("true", "true")
        assert row["class"] in ("brick", "grass"), "the nearest"
        assert "scored as" in row["note"]
        assert float(row["unknown_p_value"]) <= 0.2


def test_other_settings_are_refused_and_nothing_is_changed(place, tmp_path):
    run(place, tmp_path)
    before = (tmp_path / "scores.csv").read_bytes()
    with pytest.raises(UserError, match=r"other settings; nothing was changed.*\n +thresholds: "):
        run(place, tmp_path, threshold="3")
    with pytest.raises(UserError, match="outputs"):
        run(place, tmp_path, outputs=Outputs(heatmaps=True))
    assert (tmp_path / "scores.csv").read_bytes() == before
    (tmp_path / "predict.json").unlink()
    with pytest.raises(UserError, match=r"scores\.csv but no predict\.json"):
        run(place, tmp_path)


def test_a_table_that_is_none_of_ours_is_refused(place, tmp_path):
    run(place, tmp_path)
    content = (tmp_path / "scores.csv").read_text().splitlines(keepends=True)
    (tmp_path / "scores.csv").write_text("".join([*content[:3], "a,b\n", *content[3:]]))
    with pytest.raises(UserError, match=r"scores\.csv, row 4: it is none that predict\.py wrote \(2 columns"):
        run(place, tmp_path)


def test_a_folder_that_cannot_be_written(place, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Results cannot be written"):
        run(place, tmp_path / "file" / "out")
    with pytest.raises(UserError, match="Results cannot be written"):
        run(place, tmp_path / "file")


def script(place, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
    command = [*PYTHON, str(ROOT / "predict.py"), f"--workdir={place / 'run'}", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def test_the_script_takes_many_paths_and_says_by_its_status_how_it_went(place, tmp_path):
    new, bad, out = place / "new", tmp_path / "bad.png", tmp_path / "out"
    bad.write_text("")
    status, said = script(place, "--input", new / "brick", new / "grass", bad, f"--out={out}", "--maps=npy")
    assert (status, len(rows(out))) == (1, 8)
    assert "9/9" in said, "a progress bar"
    assert "bad.png' cannot be read as an image" in said
    assert "WARNING" not in said
    shutil.copy(new / "brick" / "0.png", bad)
    arguments = [f"--input={new}/brick", f"--input={new}/grass", f"--input={bad}", "--maps=npy"]
    status, said = script(place, *arguments, f"--out={out}")
    assert (status, len(rows(out))) == (0, 9)
    assert "1 images scored, 8 scored before" in said


def test_the_script_without_images(place, tmp_path):
    status, said = script(place, f"--out={tmp_path}/out")
    assert status == 2
    assert said.strip().endswith("error: No images are given: --input=PATH, a file, a folder or a pattern.")
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
