"""Evaluation of a small trained model: what it writes, what a score depends on, what it refuses."""

import json
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from trees import SIDE, TINY, add_class, save, tiny_config

from hgad_jax.config.recipe import PLAIN
from hgad_jax.data import load_dataset
from hgad_jax.data.contents import of_labelled
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import Record
from hgad_jax.data.transforms import load_image, load_mask
from hgad_jax.errors import UserError
from hgad_jax.evaluation import evaluate as module
from hgad_jax.evaluation import measure
from hgad_jax.evaluation.evaluate import COLUMNS, evaluate
from hgad_jax.evaluation.scored import score_calibrated, score_paper
from hgad_jax.files import locked
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.predict import predict
from hgad_jax.inference.predictor import Predictor
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.metrics.ranking import ranking_metrics
from hgad_jax.metrics.region import aupro
from hgad_jax.report.page import render
from hgad_jax.runs import checkpoints
from hgad_jax.scoring import paper
from hgad_jax.training.loop import train

SETTINGS = {"train__epochs": 1.0, "train__stage_two_epoch": 0.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two classes, of which the second has no masks."""
    place = tmp_path_factory.mktemp("two")
    add_class(place / "data", "brick", good=20)
    add_class(place / "data", "grass", good=20, masks=False)
    train(tiny_config(place / "data", **SETTINGS), place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def results(run):
    lines = []
    found = evaluate(run, log=lines.append)
    return found, "\n".join(lines)


@pytest.fixture
def movable(run, tmp_path):
    """A copy of run and data, whose data a test may change."""
    for name in ("data", "run"):
        shutil.copytree(run.parent / name, tmp_path / name)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    config["data"]["root"] = str(tmp_path / "data")
    path.write_text(json.dumps(config))
    shutil.rmtree(tmp_path / "run" / "eval", ignore_errors=True)
    return tmp_path


def finite(value):
    return value is not None and 0 <= value <= 1


def test_results_say_which_evidence_spoke(run, results):
    """The AUROC of each piece by itself, and whose score is highest, as `Prediction.evidence` has them."""
    found, _ = results
    predictor = Predictor.load(run)
    names = predictor.scorer.evidence_names
    assert names == ("blocks.2 of 64 px", "blocks.4 of 64 px", "blocks.4 of 128 px")
    records = [r for r in load_dataset(predictor.scorer.config.data).test if r.class_name == "brick"]
    said = [predictor(record.path).evidence for record in records]
    bad = np.array([record.anomalous for record in records])
    assert list(found["evidence"]) == ["brick", "grass"]
    for name, of_piece in found["evidence"]["brick"].items():
        scores = np.array([evidence[name] for evidence in said])
        assert of_piece["image_auroc"] == ranking_metrics(bad, scores)["auroc"]
        loudest = [max(e, key=e.get) == name for e, b in zip(said, bad, strict=True) if b]
        assert of_piece["loudest"] == np.mean(loudest)
    combined = [predictor(record.path).score for record in records[:2]]
    expected = [np.log(np.sum(np.exp(list(evidence.values())))) for evidence in said[:2]]
    np.testing.assert_allclose(combined, expected, rtol=1e-4)


def test_results_have_the_documented_form(run, results):
    found, _ = results
    assert json.loads((run / "eval" / "results.json").read_text()) == found
    assert found["protocol"] == "calibrated"
    contents = of_labelled(load_dataset(load_scorer(run).config.data).test, run / "cache", num_workers=0)
    assert found["contents"] == contents
    assert found["class_of_test_images"] == "inferred"
    assert found["step"] == 4
    assert list(found["classes"]) == ["brick", "grass"]
    for name, metrics in found["classes"].items():
        assert (metrics["images"], metrics["anomalous"]) == (6, 3)
        assert set(COLUMNS) <= metrics.keys()
        for column in COLUMNS:
            few = column == "pixel_aupimo"  # 12,288 good pixels cannot tell a rate of 1e-5
            expected_none = few or (name == "grass" and column.startswith("pixel"))
            assert metrics[column] is None if expected_none else finite(metrics[column]), (name, column)
    for column in COLUMNS:
        known = [m[column] for m in found["classes"].values() if m[column] is not None]
        assert found["mean"][column] == (pytest.approx(np.mean(known)) if known else None)
    for values in (*found["classes"].values(), found["mean"], found["pooled"]):
        for column in COLUMNS:
            value, ci = values[column], values[f"{column}_ci"]
            if value is None or column == "pixel_aupro_dfr1000":
                assert ci is None
            else:
                assert 0 <= ci[0] <= ci[1] <= 1
                assert ci[0] - 0.05 <= value <= ci[1] + 0.05
    assert found["bootstrap"] == {"replicates": 1000, "level": 0.95, "seed": 0}
    assert (found["pooled"]["images"], found["pooled"]["anomalous"]) == (12, 6)


def test_pooled_figures_are_those_of_all_images_as_one_set(run, results):
    found, _ = results
    scorer = load_scorer(run)
    records = load_dataset(scorer.config.data).test
    image, maps, _ = scored(scorer, records)
    anomalous = np.array([record.anomalous for record in records])
    pooled = ranking_metrics(anomalous, image)
    assert found["pooled"]["image_auroc"] == pytest.approx(pooled["auroc"], abs=1e-9)
    assert found["pooled"]["image_ap"] == pytest.approx(pooled["ap"], abs=1e-9)
    # grass has no masks: the pool of pixels is brick's
    masks = np.stack(
        [
            load_mask(r.mask, scorer.transform, image=r.path) if r.mask else np.zeros((SIDE, SIDE), bool)
            for r in records[:6]
        ]
    )
    assert found["pooled"]["pixel_aupro"] == pytest.approx(aupro(masks, maps[:6]), abs=1e-9)
    assert found["classes"]["brick"]["pixel_aupro"] == pytest.approx(aupro(masks, maps[:6]), abs=1e-9)
    assert found["pooled"]["pixel_auroc"] == found["classes"]["brick"]["pixel_auroc"]


def test_decisions_are_counted(run, results):
    found, table = results
    scorer = load_scorer(run)
    records = load_dataset(scorer.config.data).test
    predictor = Predictor.load(run)
    predictions = [predictor(record.path) for record in records]
    called = np.array([prediction.anomalous for prediction in predictions])
    unknown = np.array([prediction.unknown for prediction in predictions])
    anomalous = np.array([record.anomalous for record in records])
    for k, (name, rows) in enumerate((("brick", slice(0, 6)), ("grass", slice(6, 12)))):
        values = found["classes"][name]
        assert values["threshold"] == scorer.decision.thresholds[k].value
        assert values["false_alarms"] == np.sum(called[rows] & ~anomalous[rows])
        assert values["misses"] == np.sum(~called[rows] & anomalous[rows])
        assert values["unknown"] == np.sum(unknown[rows])
        alarms, misses = values["false_alarms"], values["misses"]
        shown = next(line for line in table.splitlines() if line.strip().startswith(f"{name}  false alarms"))
        assert f"false alarms {alarms} of 3 = " in shown
        assert f"promised {values['promised']:.1%}; misses {misses} of 3 = " in shown


def test_a_report_is_written_when_asked_for(run, tmp_path):
    published = {"source": "theirs", "mean": {"image_auroc": 0.123}}
    found = evaluate(run, out=tmp_path, render=render, published=published, log=lambda line: None)
    assert sorted(os.listdir(tmp_path)) == [".eval.lock", "report.html", "results.json", "scores.csv"]
    assert found["published"] == published
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "published 0.123" in text
    assert f"{found['mean']['image_auroc']:.3f}" in text
    assert text.count("<img") == 2 * 9 * 2 - 2 * 2 * 3, "of three defective images none is left to be typical"


def test_the_report_of_the_paper_protocol_has_no_thresholds(run, tmp_path):
    found = evaluate(run, out=tmp_path, protocol="paper", render=render, log=lambda line: None)
    assert not any("threshold" in values for values in found["classes"].values())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "compare them with published tables only" in text
    assert text.count('class="limit"') == text.count("τ of F1-max") == 2, (
        "chosen on the test set, and said so"
    )


def test_intervals_can_be_left_out(run, tmp_path):
    found = evaluate(run, out=tmp_path, replicates=0, log=lambda line: None)
    assert found["mean"]["image_auroc"] is not None
    assert all(found["mean"][f"{column}_ci"] is None for column in COLUMNS)


def test_nothing_is_left_beside_the_results(run, tmp_path):
    evaluate(run, out=tmp_path / "out", log=lambda line: None)
    assert sorted(os.listdir(tmp_path / "out")) == [".eval.lock", "results.json", "scores.csv"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_where_results_should_go_is_seen_before_the_scoring(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(module, "score_calibrated", lambda *arguments: pytest.fail("was scored first"))
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"--out: '.*/file' is a file, expected a folder"):
            evaluate(run, out=out, log=lambda line: None)
    assert (tmp_path / "file").read_text() == "mine"


def test_too_little_room_on_the_disk_is_told_before_the_scoring(run, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    monkeypatch.setattr(module, "score_calibrated", lambda *arguments: pytest.fail("was scored first"))
    with pytest.raises(UserError, match=r"Evaluating 12 images of 64×64 pixels needs 0\.0 GB.*--out"):
        evaluate(run, out=tmp_path / "out", log=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_white_squares_on_textures_are_found(results):
    found, _ = results
    assert found["class_accuracy"] == 1
    assert found["mean"]["image_auroc"] > 0.9
    assert found["mean"]["pixel_auroc"] > 0.9
    assert found["mean"]["pixel_aupro"] > 0.7


def test_the_table_shows_every_class_and_the_mean(run, results):
    found, table = results
    measured = table[: table.index("at the thresholds")] + table[table.index("Written to") :]
    rows = {line.split()[0]: line.split()[1:] for line in measured.splitlines() if line}
    shown = [column for column in COLUMNS if column != "pixel_aupimo"]  # has no value
    assert rows["image_auroc"] == shown[1:]
    for name, metrics in found["classes"].items():
        cells = ["-" if metrics[c] is None else f"{metrics[c]:.4f}" for c in shown]
        assert rows[name] == cells
        low, high = metrics["image_auroc_ci"]
        assert f"[{low:.3f},{high:.3f}]".replace("[0.", "[.").replace(",0.", ",.") in table
    assert rows["pooled"][0] == f"{found['pooled']['image_auroc']:.4f}"
    assert rows["mean"][0] == f"{found['mean']['image_auroc']:.4f}"
    assert f"Written to {run / 'eval' / 'results.json'}" in table


def test_another_folder_for_the_results(run, tmp_path, results):
    before = (run / "eval" / "results.json").read_bytes()
    found = evaluate(run, out=tmp_path / "a" / "b", classes="given", log=lambda line: None)
    assert json.loads((tmp_path / "a" / "b" / "results.json").read_text()) == found
    assert found["class_of_test_images"] == "given"
    assert found["class_accuracy"] is None
    # All classes were found right, so that giving them changes nothing.
    assert found["mean"]["image_auroc"] == pytest.approx(results[0]["mean"]["image_auroc"])
    assert found["mean"]["pixel_ap"] == pytest.approx(results[0]["mean"]["pixel_ap"])
    assert (run / "eval" / "results.json").read_bytes() == before


def scored(scorer, records, how=score_calibrated, class_ids=None):
    """Image scores, maps and classes of records, which come back in the order of their classes."""
    with ExitStack() as files:
        place = files.enter_context(tempfile.TemporaryDirectory())
        images = files.enter_context(EvalSet(tuple(records), scorer.classes, scorer.transform, place))
        found = how(scorer, images, class_ids, files, place)
        return found.image, found.maps.read(0, len(images)), found.class_ids


def test_an_image_scores_alone_as_among_others(run):
    scorer = load_scorer(run)
    records = load_dataset(scorer.config.data).test
    image, maps, class_ids = scored(scorer, records)  # batches of four
    assert image.shape == (12,)
    assert maps.shape == (12, SIDE, SIDE)
    assert np.ptp(image) > 1
    assert class_ids.tolist() == [0] * 6 + [1] * 6
    for i in (0, 5, 11):
        evidence = scorer.evidence(load_image(records[i].path, scorer.transform)[None])
        alone = jax.device_get(scorer.calibrated(evidence))
        np.testing.assert_allclose(alone.image[0], image[i], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(alone.maps[0], maps[i], rtol=1e-5, atol=1e-4)
    others = [5, 2, 0, 11, 8]  # other neighbours, and a batch that is not full
    among, _, _ = scored(scorer, [records[i] for i in others])
    np.testing.assert_allclose(among, image[others], rtol=1e-5, atol=1e-5)


def test_paper_protocol(run, tmp_path):
    found = evaluate(run, out=tmp_path, protocol="paper", log=lambda line: None)
    assert found["protocol"] == "paper"
    assert found["class_of_test_images"] == "given"
    assert found["class_accuracy"] is None
    assert all(finite(found["mean"][column]) for column in COLUMNS if column != "pixel_aupimo")


def test_the_published_protocol_is_told_the_class_whatever_the_run_does(run, tmp_path, monkeypatch):
    """A run may be made for the likelihood of the mixture over classes, which has other maps."""
    asked = []

    def load(directory, **options):
        asked.append(options)
        return load_scorer(directory, **options)

    monkeypatch.setattr(module, "load_scorer", load)
    evaluate(run, out=tmp_path, protocol="paper", replicates=0, log=lambda line: None)
    assert [options["classes"] for options in asked] == ["given"]
    with pytest.raises(UserError, match="--classes=mixture is for --protocol=calibrated"):
        evaluate(run, out=tmp_path, protocol="paper", classes="mixture")


def test_paper_scores_are_those_of_the_whole_set_of_a_class(run):
    """In blocks from disk as `paper.anomaly_map` makes them in memory."""
    scorer = load_scorer(run)
    records = load_dataset(scorer.config.data).test
    labels = np.array([scorer.classes.index(record.class_name) for record in records], np.int32)
    image, maps, _ = scored(scorer, records, score_paper, labels)
    for k in (0, 1):
        chosen = np.flatnonzero(labels == k)
        pixels = np.stack([load_image(records[i].path, scorer.transform) for i in chosen])
        evidence = jax.device_get(scorer.evidence(pixels, labels[chosen]))
        own = scorer.levels.coarse  # no paper has a bank
        expected = paper.anomaly_map(evidence.log_likelihood[own], evidence.negative_entropy[own], SIDE)
        scale = expected.max()
        np.testing.assert_allclose(maps[chosen] / scale, expected / scale, atol=2e-4)
        np.testing.assert_allclose(image[chosen], maps[chosen].max((1, 2)))
    assert np.ptp(image[:6]) > 0


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    place = tmp_path_factory.mktemp("single")
    folder = add_class(place, "gravel")
    # Of so small a model with the default's features, the published exp(likelihood) is zero for all.
    config = tiny_config(folder, backbone__taps=("blocks.4",), **SETTINGS)
    config.update_from_flattened_dict(PLAIN)
    train(config, place / "run")
    return place / "run"


def test_a_single_class_is_scored_by_both_protocols(single):
    scorer = load_scorer(single)
    assert scorer.classes == ("gravel",)
    records = load_dataset(scorer.config.data).test
    anomalous = np.array([record.anomalous for record in records])
    for how, class_ids in ((score_calibrated, None), (score_paper, np.zeros(len(records), np.int32))):
        image, maps, _ = scored(scorer, records, how, class_ids)
        assert np.isfinite(image).all()
        assert np.isfinite(maps).all()
        assert len(np.unique(image)) > 1, "the published score is zero for all"
        assert ranking_metrics(anomalous, image)["auroc"] >= 0.5


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """Oblong images, in a letterbox that is cut into four tiles."""
    place = tmp_path_factory.mktemp("tiled")
    folder = add_class(place, "gravel")
    for path in folder.rglob("*.png"):
        image = Image.open(path)
        image.crop((0, 0, SIDE, SIDE - 16)).save(path)
    settings = {"backbone__taps": ("blocks.4",), "data__tiles": 2, "data__resize": "letterbox"}
    train(tiny_config(folder, **settings, train__epochs=0.0), place / "run")
    return place / "run"


def test_tiles_and_letterbox_score_as_in_prediction(tiled, tmp_path):
    scorer = load_scorer(tiled)
    side = scorer.transform.working_size
    assert side > SIDE
    records = load_dataset(scorer.config.data).test
    image, maps, _ = scored(scorer, records)
    predictor = Predictor.load(tiled)
    for i in (0, 5):
        assert image[i] == pytest.approx(predictor(records[i].path).score, rel=1e-4)
    assert maps.shape == (6, side, side)
    found = evaluate(tiled, out=tmp_path, render=render, log=lambda line: None)["classes"]["gravel"]
    with EvalSet(records, scorer.classes, scorer.transform, tmp_path) as images:
        masks = np.stack([images.mask(i) for i in range(6)])
        seen = images.box(0).slices
    assert masks.shape[1:] == (side, side)
    inner = (slice(None), *seen)
    assert masks[inner].shape[1:] == (side * 3 // 4, side), "the border of a letterbox is no image"
    assert found["pixel_aupro"] == pytest.approx(aupro(masks[inner], maps[inner]), abs=1e-9)
    assert found["pixel_aupro"] != pytest.approx(aupro(masks, maps), abs=1e-6)
    with pytest.raises(UserError, match=r"knows neither tiles nor letterboxes.*--protocol=calibrated"):
        evaluate(tiled, out=tmp_path, protocol="paper", log=lambda line: None)


def test_defects_without_a_mask_take_no_part_where_others_have_one(tmp_path):
    """In a group that clustering has found, there may be products with masks and without."""
    records = [
        Record("a.png", "group", "test", "good"),
        Record("b.png", "group", "test", "hole", "b_mask.png"),
        Record("c.png", "group", "test", "hole"),
        Record("d.png", "bare", "test", "good"),
        Record("e.png", "bare", "test", "hole"),
    ]
    test = EvalSet(tuple(records), ("group", "bare"), Transform(SIDE), tmp_path)
    assert test.has_truth.tolist() == [True, True, False, False, False]


def test_classes_are_resampled_by_themselves(monkeypatch, tmp_path):
    """Or the mean of classes would vary as much as each of them."""
    rng = np.random.default_rng(0)
    number, classes = 40, 9
    anomalous = np.tile(np.arange(number) % 2 == 1, classes)
    scores = np.tile(rng.normal(size=number), classes) + anomalous
    test = SimpleNamespace(
        classes=tuple(map(str, range(classes))),
        anomalous=anomalous,
        labels=np.repeat(np.arange(classes), number),
        of_class=lambda k: range(number * k, number * (k + 1)),
    )
    test = type("Sized", (SimpleNamespace,), {"__len__": lambda self: len(scores)})(**vars(test))
    monkeypatch.setattr(measure, "pixel_metrics", lambda *args, **kwargs: [None] * (classes + 1))
    found = measure.measure(test, SimpleNamespace(image=scores), tmp_path, replicates=400)

    def width(of):
        low, high = of["image_auroc_ci"]
        return high - low

    ratio = width(found.mean) / np.mean([width(of) for of in found.classes.values()])
    assert 0.25 < ratio < 0.42, "of nine independent ones it is a third"


def refused(directory, pattern, **options):
    with pytest.raises(UserError, match=pattern):
        evaluate(directory, log=lambda line: None, **options)
    assert not (directory / "eval").exists()


def test_results_say_of_which_images_they_are(movable):
    before = evaluate(movable / "run", log=lambda line: None)
    for name in ("0.png", "1.png"):
        shutil.copy(movable / "data/grass/test/good/2.png", movable / "data/brick/test/good" / name)
    after = evaluate(movable / "run", log=lambda line: None)
    assert before["contents"]["images"]["brick"] != after["contents"]["images"]["brick"]
    assert before["contents"]["images"]["grass"] == after["contents"]["images"]["grass"]
    assert before["classes"]["brick"] != after["classes"]["brick"], "a finished evaluation is made anew"


def test_images_that_change_during_an_evaluation_are_refused(movable, monkeypatch):
    def then_change(*arguments, **settings):
        save(movable / "data/brick/test/good/1.png", np.zeros((SIDE, SIDE), np.uint8))
        return measure.measure(*arguments, **settings)

    monkeypatch.setattr(module, "measure", then_change)
    refused(movable / "run", "changed while they were evaluated")


def test_a_dataset_that_has_been_moved(movable):
    (movable / "data").rename(movable / "moved")
    refused(movable / "run", rf"(?s)data' does not exist.*{movable}/run/config\.json.*--root=DIR")
    found = evaluate(movable / "run", root=movable / "moved", log=lambda line: None)
    assert found["classes"]["grass"]["images"] == 6
    images, settings = [str(movable / "moved/brick/test/good")], {"threshold": "f1_max"}
    with pytest.raises(UserError, match="--root=DIR"):
        predict(movable / "run", images, movable / "out", **settings)
    done = predict(movable / "run", images, movable / "out", root=movable / "moved", **settings)
    assert done.scored == 3


def test_two_that_end_at_once_write_one_after_the_other(results, tmp_path):
    lines = []
    with locked(tmp_path / ".eval.lock"):
        other = threading.Thread(target=module._write, args=(tmp_path, results[0], "page", "", lines.append))
        other.start()
        assert not (tmp_path / "results.json").exists()
        assert not lines
    other.join()
    assert json.loads((tmp_path / "results.json").read_text()) == results[0]
    assert (tmp_path / "report.html").read_text() == "page"
    assert len(lines) == 4


def test_results_are_written_before_anyone_is_told(run, tmp_path):
    """Whoever reads the table may close the pipe."""

    def closed(line):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        evaluate(run, out=tmp_path, log=closed)
    assert (tmp_path / "results.json").exists()


def test_names_that_are_no_utf_8_leave_the_results_readable(results, tmp_path):
    name = os.fsdecode(b"gr\xffn")
    found = results[0] | {"classes": {name: results[0]["classes"]["brick"]}, "dataset": name}
    lines = []
    module._write(tmp_path, found, None, "", lines.append)
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (list(written["classes"]), written["dataset"]) == (["gr\\xffn"], "gr\\xffn")
    assert "\n".join(lines).encode("utf-8")


def test_a_checkpoint_that_training_replaces_while_it_is_read(movable, monkeypatch):
    folder, read = movable / "run" / "checkpoints", checkpoints.read_metadata

    def then_replace(manager, step):
        if step < 12:
            (folder / str(step)).rename(folder / str(step + 4))
        return read(manager, step)

    monkeypatch.setattr(checkpoints, "read_metadata", then_replace)
    assert load_scorer(movable / "run").step == 12


def test_mask_of_another_size_names_both_files(movable):
    save(movable / "data/brick/ground_truth/square/1_mask.png", np.ones((SIDE, SIDE + 1), np.uint8))
    both = r"square/1_mask\.png' has 65×64 pixels but its image '.*test/square/1\.png' has 64×64"
    refused(movable / "run", both)


def test_other_weights_of_the_backbone_are_refused(movable):
    path = movable / "run" / "config.json"
    path.write_text(path.read_text().replace(json.dumps(TINY["backbone.source"]), '"random"'))
    refused(movable / "run", "SHA-256 of the backbone's weights: [0-9a-f]{64} there, random:0 here")


def test_mask_of_another_size_is_found_before_the_scoring(movable, monkeypatch):
    """On a large test set the scoring takes long."""
    save(movable / "data/brick/ground_truth/square/1_mask.png", np.ones((SIDE, SIDE + 1), np.uint8))
    monkeypatch.setattr(module, "score_calibrated", lambda *args, **kwargs: pytest.fail("was scored first"))
    refused(movable / "run", r"1_mask\.png' has 65×64 pixels")


def test_unreadable_test_image(movable):
    (movable / "data/grass/test/good/2.png").write_text("not an image")
    refused(movable / "run", r"grass/test/good/2\.png' cannot be read as an image")


def test_no_test_images(movable):
    for name in ("brick", "grass"):
        for part in ("test", "ground_truth"):
            shutil.rmtree(movable / "data" / name / part, ignore_errors=True)
    refused(movable / "run", "data has no images in its test split: nothing to evaluate")


def test_a_class_the_model_does_not_know(movable):
    add_class(movable / "data", "gravel", good=4, test=1)
    refused(movable / "run", r"does not know the class\(es\) gravel; it was trained on brick, grass")


def test_a_class_without_test_images_has_no_metrics(movable):
    shutil.rmtree(movable / "data" / "grass" / "test")
    found = evaluate(movable / "run", log=lambda line: None)
    assert found["classes"]["grass"]["images"] == 0
    assert all(found["classes"]["grass"][column] is None for column in COLUMNS)
    assert found["mean"]["image_auroc"] == found["classes"]["brick"]["image_auroc"]


def test_good_test_images_alone_have_no_ranking(movable):
    for name in ("brick", "grass"):
        shutil.rmtree(movable / "data" / name / "test" / "square")
        shutil.rmtree(movable / "data" / name / "ground_truth", ignore_errors=True)
    lines = []
    found = evaluate(movable / "run", log=lines.append)
    assert found["classes"]["brick"]["images"] == 3
    assert all(found["mean"][column] is None for column in COLUMNS)
    assert lines, "a table is shown all the same"


def test_images_of_any_size_and_colour_are_scored(movable):
    path = movable / "data/brick/test/good/0.png"
    image = Image.open(path)
    image.resize((97, 41)).convert("RGB").save(path)
    assert finite(evaluate(movable / "run", log=lambda line: None)["mean"]["image_auroc"])


def test_an_unknown_split(movable):
    refused(movable / "run", "--split=valid is not known, expected test or train", split="valid")


def test_no_run_and_no_checkpoint(movable):
    refused(movable / "nowhere", r"nowhere holds no run: there is no config\.json")
    for path in (movable / "run" / "checkpoints").iterdir():
        shutil.rmtree(path)
    refused(movable / "run", "no.* checkpoint yet")
    shutil.rmtree(movable / "run" / "checkpoints")
    refused(movable / "run", "no checkpoint yet")


def test_a_checkpoint_of_another_model_is_refused(movable):
    path = movable / "run" / "config.json"
    path.write_text(path.read_text().replace('"num_blocks": 2', '"num_blocks": 3'))
    refused(
        movable / "run",
        r"checkpoints/4: .*of another run; .*\n +config\.detector\.num_blocks: 2 there, 3 here",
    )
