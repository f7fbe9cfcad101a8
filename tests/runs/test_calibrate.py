"""Calibration of a run: kept bit for bit, and every held-out image scored as if it were a new one."""

from pathlib import Path

import jax
import numpy as np
import pytest
from trees import add_class, tiny_config

from hgad_jax.data import load_dataset
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.pipeline import image_batches
from hgad_jax.data.split import hold_out
from hgad_jax.errors import UserError
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.runs.model import piece_score_function, score_function
from hgad_jax.scoring.calibration import PIXEL_LEVELS, pixel_threshold
from hgad_jax.scoring.constants import fit_constants, leave_one_score_out, of_classes
from hgad_jax.scoring.decision import decide
from hgad_jax.training import loop

MODES = ("given", "inferred", "mixture")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder and config, its calibration as it was before it was saved, and what was said."""
    place = tmp_path_factory.mktemp("calibrate")
    for name in ("brick", "grass"):
        add_class(place / "data", name, test=0)
    config = tiny_config(
        place / "data",
        train__epochs=0.0,
        backbone__taps=("blocks.4",),
        scoring__classes="mixture",
        scoring__image_map="position",  # whose constants depend most on each image
    )
    saved, lines = [], []

    def save(manager, step, items, metadata, original=loop.checkpoints.save):
        saved.append(jax.device_get(items["calibration"]))
        original(manager, step, items, metadata)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.checkpoints, "save", save)
        loop.train(config, place / "run", log=lines.append)
    return place / "run", config, saved[-1], "\n".join(lines)


@pytest.fixture(scope="module")
def given(run):
    """Scorer with classes given, its evidence on the held-out images, and their classes."""
    directory, config, _, _ = run
    scorer = load_scorer(directory, classes="given")
    dataset = load_dataset(config.data)
    _, held = hold_out(dataset.train, fraction=0.15, min_images=4, seed=0)
    records = [dataset.train[i] for i in held]
    labels = np.array([scorer.classes.index(r.class_name) for r in records], np.int32)
    (batch,) = image_batches(records, transform=transform_of(config.data), batch_size=len(records))
    return scorer, jax.device_get(scorer.evidence(batch["image"], labels)), labels


def test_training_ends_with_the_thresholds(run):
    _, _, _, said = run
    assert "threshold of brick" in said
    assert "20.00% false alarms promised" in said
    assert "1.00% needs 99 good images held out or, for the fitted tail, 10" in said


@pytest.mark.parametrize("mode", MODES)
def test_calibration_and_thresholds_survive_saving_bit_for_bit(run, mode):
    directory, config, before, _ = run
    scorer = load_scorer(directory, classes=mode)
    assert jax.tree.structure(scorer.calibration) == jax.tree.structure(before)
    jax.tree.map(np.testing.assert_array_equal, scorer.calibration, before)
    decision = decide(before, config, mode, ("brick", "grass"))
    jax.tree.map(np.testing.assert_array_equal, scorer.decision, decision)
    assert {Path(name).parts[-4] for name in scorer.good_names} == {"brick", "grass"}


def test_every_image_is_scored_by_constants_of_the_others(run, given):
    _, config, calibration, _ = run
    scorer, evidence, labels = given
    terms = (evidence.log_likelihood, evidence.negative_entropy)
    score, piece, expected = score_function(config), piece_score_function(config), []
    box = np.array([[0, 0, 64, 64]])

    def without(i):
        others = np.arange(len(labels)) != i
        rest = fit_constants(*([m[others] for m in term] for term in terms), labels[others], 2)
        return of_classes(rest, labels[i : i + 1]), [[m[i : i + 1] for m in term] for term in terms]

    own = np.concatenate([piece(image[0], rest, box) for rest, image in map(without, range(len(labels)))])
    of_scores = leave_one_score_out(own, labels)
    for i, k in enumerate(labels):
        rest, image = without(i)
        rest = rest._replace(image=jax.tree.map(lambda array, i=i: array[i : i + 1], of_scores))
        found = score(*image, rest, box)
        quantiles = np.quantile(np.asarray(found.maps[0]), [0.5, 1.0])
        expected.append((k, float(found.image[0]), float(found.strangeness[0]), *quantiles))
    stored = calibration.scores["given"]
    columns = (
        stored.class_ids,
        stored.image,
        stored.strangeness,
        stored.pixels[:, PIXEL_LEVELS == 0.5][:, 0],
    )
    found = np.stack([*columns, stored.pixels[:, -1]], axis=1)
    np.testing.assert_allclose(found, sorted(expected), rtol=2e-4, atol=2e-4)
    together = scorer.calibrated(evidence)
    assert np.mean(together.image) < np.mean(stored.image) - 0.1, "with its own part in them it looks better"


def test_a_good_image_taken_for_another_class_counts_as_that(run, given):
    """As new images do: by the class that was found."""
    _, _, calibration, _ = run
    _, evidence, labels = given
    probable = np.asarray(evidence.class_log_prob).argmax(-1)
    for mode in ("inferred", "mixture"):
        assert calibration.scores[mode].class_ids.tolist() == sorted(probable.tolist())
    assert calibration.scores["given"].class_ids.tolist() == sorted(labels.tolist())


@pytest.mark.parametrize("class_id", [0, None])
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.3])
def test_the_pixel_threshold_has_its_rate(run, class_id, rate):
    scores = run[2].scores["given"]
    found = pixel_threshold(scores, class_id, rate)
    chosen = slice(None) if class_id is None else scores.class_ids == class_id
    above = [1 - np.interp(found.value, image, PIXEL_LEVELS) for image in np.float64(scores.pixels[chosen])]
    assert np.mean(above) == pytest.approx(rate, rel=0.01)
    assert found.interval[0] <= found.rate <= found.interval[1]
    assert found.typical < found.value


def test_a_mode_that_the_run_is_not_calibrated_for(run):
    _, config, calibration, _ = run
    lacking = calibration._replace(scores={"given": calibration.scores["given"]})
    with pytest.raises(UserError, match=r"not calibrated for classes 'mixture', only for given\. Train with"):
        decide(lacking, config, "mixture", ("brick", "grass"))


def test_one_threshold_for_all_classes(run):
    _, config, calibration, _ = run
    pooled = config.copy_and_resolve_references()
    pooled.calibration.threshold_per = "model"
    thresholds = decide(calibration, pooled, "given", ("brick", "grass")).thresholds
    assert thresholds[0] == thresholds[1]
    assert thresholds[0].images == 8
