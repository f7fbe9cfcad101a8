"""Each detector from its config and a folder of images to results, by both protocols."""

import json

import numpy as np
import pytest
from scipy import stats
from trees import TINY, add_class

from hgad_jax.config import get_config
from hgad_jax.data import load_dataset
from hgad_jax.data.transforms import load_image
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.training import loop

SHARED = {key: value for key, value in TINY.items() if key.split(".")[0] != "detector"}
SHARED["train.positions"] = 0  # they take all
SMALL = {"detector.num_blocks": 2, "train.epochs": 2.0, "train.stage_two_epoch": 0.0}
FIBRES = {"detector.fibre": 256, "detector.condition_channels": 8, "altub.freeze_interval": 2}
FIBRES |= {"detector.regions": 4, "eval.window": (1, 2)}
ALL = {"train.batch_size": 8, "calibration.fraction": 0.15}  # evaluated by both protocols
CONFIGS = {
    "cflow": (lambda: get_config("cflow_folder", "altub"), SMALL | FIBRES),
    "fastflow": (lambda: get_config("fastflow_folder", "paper,altub"), SMALL | ALL),
    "padim": (lambda: get_config("padim_folder"), {"detector.dimensions": 20, "train.epochs": 0.0}),
    "spade": (
        lambda: get_config("spade_folder"),
        {"detector.gallery": 16, "detector.neighbours": 5, "train.epochs": 0.0},
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("detectors")
    for name in ("brick", "grass"):
        add_class(place / "data", name)
    return place


def make_config(name, place, **changes):
    make, settings = CONFIGS[name]
    config = make()
    fitted = {"data.root": str(place / "data"), "cache.dir": str(place / "cache")}
    config.update_from_flattened_dict(SHARED | settings | fitted | changes)
    return config


LONG = ("cflow", "fastflow", "spade")  # to compile


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in CONFIGS]
)
def test_trains_and_evaluates(name, place):
    config, folder = make_config(name, place), place / name
    state = loop.train(config, folder)
    assert int(state.step) == (4 if config.train.epochs else 0)
    results = {}
    for protocol in ("calibrated", "paper"):
        results[protocol] = evaluate(folder, protocol=protocol, log=lambda line: None)
        for metrics in results[protocol]["classes"].values():
            assert np.isfinite(metrics["image_auroc"])
            assert np.isfinite(metrics["pixel_auroc"])
    assert results["calibrated"]["class_accuracy"] >= 0.9
    # A white square on a texture: easy, even for a flow that has hardly been trained.
    assert results["calibrated"]["mean"]["image_auroc"] > 0.9
    if config.eval.window:  # epochs 1 and 2: the last of them is what the model is evaluated with
        report = json.loads((folder / "stability.json").read_text())
        assert report["steps"] == [2, 4]
        for metric in ("image_auroc", "pixel_auroc"):
            found = report[metric]
            assert found["last"] == pytest.approx(results["paper"]["mean"][metric], abs=1e-6)
            assert found["best"] == pytest.approx(max(found["last"], 2 * found["mean"] - found["last"]))
            assert found["std"] == pytest.approx(abs(found["last"] - found["mean"]))
    if config.train.epochs:
        check_normality(folder)
    messages = []
    loop.train(config, folder, log=messages.append)
    if config.train.epochs:
        assert any("nothing to train" in message for message in messages)


def check_normality(folder):
    """KS as `eval.py --normality` gives it, and by SciPy from latents of all good test images at once."""
    found = evaluate(folder, normality=True, log=lambda line: None)["ks"]
    scorer = load_scorer(folder)
    records = [r for r in load_dataset(scorer.config.data).test if not r.anomalous]
    images = np.stack([load_image(r.path, scorer.transform) for r in records])
    labels = np.array([scorer.classes.index(r.class_name) for r in records], np.int32)
    expected = []
    for level in scorer.latents(images, labels):
        channels = np.asarray(level, np.float64).reshape(-1, level.shape[-1]).T
        expected.append([stats.kstest(channel, "norm").statistic for channel in channels])
    np.testing.assert_allclose(found["levels"], [np.mean(level) for level in expected], atol=2e-3)
    assert found["mean"] == pytest.approx(np.mean(np.concatenate(expected)), abs=2e-3)


def test_a_bank_has_no_latents_and_no_part_in_published_scores(place):
    """The stability report is by the published scores, as the evaluation by them is."""
    config = get_config("fastflow_folder")
    window = {"eval.window": (1, 2), "train.batch_size": 8, "data.root": str(place / "data")}
    config.update_from_flattened_dict(SHARED | SMALL | window)
    assert config.bank.size
    loop.train(config, place / "bank")
    paper = evaluate(place / "bank", protocol="paper", log=lambda line: None)["mean"]
    report = json.loads((place / "bank" / "stability.json").read_text())
    for metric in ("image_auroc", "pixel_auroc"):
        assert report[metric]["last"] == pytest.approx(paper[metric], abs=1e-6)
    check_normality(place / "bank")


def test_normality_is_for_normal_base_distributions(place):
    config = make_config("padim", place)
    loop.train(config, place / "fitted")
    with pytest.raises(UserError, match="this run's detector is 'padim'"):
        evaluate(place / "fitted", normality=True, log=lambda line: None)


def test_one_class_alone(place):
    config = make_config("padim", place, **{"data.class_name": "grass"})
    loop.train(config, place / "one")
    assert set(evaluate(place / "one", log=lambda line: None)["classes"]) == {"grass"}
    assert json.loads((place / "one" / "config.json").read_text())["data"]["class_name"] == "grass"
    config.data.class_name = "gravel"
    with pytest.raises(UserError, match=r"'gravel', which .* does not have; its classes are brick, grass"):
        loop.train(config, place / "none")


def test_a_fitted_detector_is_not_trained(place):
    config = make_config("spade", place, **{"train.epochs": 1.0})
    with pytest.raises(UserError, match=r"config\.train\.epochs is 1.0, expected 0: spade is fitted"):
        loop.train(config, place / "trained spade")
