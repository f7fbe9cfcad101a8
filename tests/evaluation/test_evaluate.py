"""Evaluation of a small trained model: what it writes, what a score depends on, what it refuses."""

import gc
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from trees import SIDE, add_class, save, tiny_config

from hgad_jax.data import load_dataset
from hgad_jax.data.geometry import Transform
from hgad_jax.data.transforms import load_image
from hgad_jax.errors import UserError
from hgad_jax.evaluation import evaluate as module
from hgad_jax.evaluation.evaluate import COLUMNS, evaluate
from hgad_jax.evaluation.scorer import load_scorer
from hgad_jax.metrics.ranking import ranking_metrics
from hgad_jax.training.loop import train

SETTINGS = {"train__epochs": 2.0, "train__stage_two_epoch": 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two classes, of which the second has no masks."""
    place = tmp_path_factory.mktemp("two")
    add_class(place / "data", "brick")
    add_class(place / "data", "grass", masks=False)
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


def test_results_have_the_documented_form(run, results):
    found, _ = results
    assert json.loads((run / "eval" / "results.json").read_text()) == found
    assert found["protocol"] == "calibrated"
    assert found["class_of_test_images"] == "inferred"
    assert found["step"] == 4
    assert list(found["classes"]) == ["brick", "grass"]
    for name, metrics in found["classes"].items():
        assert (metrics["images"], metrics["anomalous"]) == (6, 3)
        assert set(COLUMNS) <= metrics.keys()
        for column in COLUMNS:
            expected_none = name == "grass" and column.startswith("pixel")
            assert metrics[column] is None if expected_none else finite(metrics[column]), (name, column)
    for column in COLUMNS:
        known = [m[column] for m in found["classes"].values() if m[column] is not None]
        assert found["mean"][column] == pytest.approx(np.mean(known))


def test_white_squares_on_textures_are_found(results):
    found, _ = results
    assert found["class_accuracy"] == 1
    assert found["mean"]["image_auroc"] > 0.9
    assert found["mean"]["pixel_auroc"] > 0.9
    assert found["mean"]["pixel_aupro"] > 0.7


def test_the_table_shows_every_class_and_the_mean(run, results):
    found, table = results
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line}
    assert rows["image_auroc"] == list(COLUMNS[1:])
    for name, metrics in found["classes"].items():
        cells = ["-" if metrics[c] is None else f"{metrics[c]:.4f}" for c in COLUMNS]
        assert rows[name] == cells
    assert rows["mean"][0] == f"{found['mean']['image_auroc']:.4f}"
    assert f"Written to {run / 'eval' / 'results.json'}" in table


def test_another_folder_for_the_results(run, tmp_path, results):
    before = (run / "eval" / "results.json").read_bytes()
    found = evaluate(run, out=tmp_path / "a" / "b", classes="given", log=lambda line: None)
    assert json.loads((tmp_path / "a" / "b" / "results.json").read_text()) == found
    assert found["class_of_test_images"] == "given"
    assert found["class_accuracy"] is None
    # All classes were found right, so that giving them changes nothing.
    assert found["mean"] == pytest.approx(results[0]["mean"])
    assert (run / "eval" / "results.json").read_bytes() == before


def test_an_image_scores_alone_as_among_others(run):
    scorer = load_scorer(run)
    records = load_dataset(scorer.config.data).test
    together = module._score_calibrated(scorer, records, None)  # batches of four
    assert together.image.shape == (12,)
    assert together.maps.shape == (12, SIDE, SIDE)
    assert np.ptp(together.image) > 1
    assert together.class_ids.tolist() == [0] * 6 + [1] * 6
    for i in (0, 5, 11):
        evidence = scorer.evidence(load_image(records[i].path, Transform(SIDE))[None])
        alone = jax.device_get(scorer.calibrated(evidence))
        np.testing.assert_allclose(alone.image[0], together.image[i], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(alone.maps[0], together.maps[i], rtol=1e-5, atol=1e-4)
    others = [records[i] for i in (11, 5, 8, 2, 0)]  # other neighbours, and a batch that is not full
    among = module._score_calibrated(scorer, others, None)
    np.testing.assert_allclose(among.image, together.image[[11, 5, 8, 2, 0]], rtol=1e-5, atol=1e-5)


def test_paper_protocol(run, tmp_path):
    found = evaluate(run, out=tmp_path, protocol="paper", log=lambda line: None)
    assert found["protocol"] == "paper"
    assert found["class_of_test_images"] == "given"
    assert found["class_accuracy"] is None
    assert all(finite(found["mean"][column]) for column in COLUMNS)


def test_paper_scores_are_normalised_class_by_class(run):
    scorer = load_scorer(run)
    records = load_dataset(scorer.config.data).test
    labels = np.array([scorer.classes.index(record.class_name) for record in records])
    both = module._score_paper(scorer, records, labels)
    one = module._score_paper(scorer, records[6:], labels[6:])
    np.testing.assert_allclose(one.image, both.image[6:], rtol=1e-5)
    assert np.ptp(both.image[:6]) > 0
    assert np.isfinite(both.maps).all()


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    place = tmp_path_factory.mktemp("single")
    folder = add_class(place, "gravel")
    train(tiny_config(folder, backbone__taps=("blocks.4",), **SETTINGS), place / "run")
    return place / "run"


def test_a_single_class_is_scored_by_both_protocols(single):
    scorer = load_scorer(single)
    assert scorer.classes == ("gravel",)
    records = load_dataset(scorer.config.data).test
    labels = np.zeros(len(records), np.int32)
    anomalous = np.array([record.anomalous for record in records])
    for result in (
        module._score_calibrated(scorer, records, None),
        module._score_paper(scorer, records, labels),
    ):
        assert np.isfinite(result.image).all()
        assert np.isfinite(result.maps).all()
        assert len(np.unique(result.image)) > 1, "the published score is zero for all"
        assert ranking_metrics(anomalous, result.image)["auroc"] >= 0.5


def refused(directory, pattern, **options):
    with pytest.raises(UserError, match=pattern):
        evaluate(directory, log=lambda line: None, **options)
    assert not (directory / "eval").exists()


def test_mask_of_another_size_names_both_files(movable):
    save(movable / "data/brick/ground_truth/square/1_mask.png", np.ones((SIDE, SIDE + 1), np.uint8))
    both = r"square/1_mask\.png' has 65×64 pixels but its image '.*test/square/1\.png' has 64×64"
    refused(movable / "run", both)


def test_mask_of_another_size_is_found_before_the_scoring(movable, monkeypatch):
    """On a large test set the scoring takes long."""
    save(movable / "data/brick/ground_truth/square/1_mask.png", np.ones((SIDE, SIDE + 1), np.uint8))
    monkeypatch.setattr(module, "image_batches", lambda *args, **kwargs: pytest.fail("was scored first"))
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


# Orbax drops its other readers half-way when one fails, and Python says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint_of_another_model_is_refused(movable):
    path = movable / "run" / "config.json"
    path.write_text(path.read_text().replace('"num_blocks": 2', '"num_blocks": 3'))
    refused(movable / "run", r"checkpoints/4: this checkpoint cannot be read .*of another model")
    gc.collect()
