"""Test figures at every evaluated epoch, class by class; and the two best states, kept apart as HGAD has."""

import json

import numpy as np
import pytest
from trees import add_class, tiny_config

from hgad_jax.config import validate
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.inference.predictor import Predictor
from hgad_jax.report.page import render
from hgad_jax.training import loop
from hgad_jax.training.loop import train

SETTINGS = {
    "train__epochs": 4.0,
    "train__learning_rate": 0.03,  # so that epochs differ
    "train__keep": "last",
    "detector__num_blocks": 1,
    "detector__conditioning": "none",
    "detector__per_class": False,
    "detector__regions": 0,
    "bank__size": 0,
    "data__detail": 1,
    "calibration__fraction": 0.0,
    "scoring__protocol": "paper",
    "scoring__image_score": "map",
    "scoring__map_size": 32,
    "eval__window": (1.0, 4.0),
    "eval__keep": "best",
}
METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two classes, the second without masks; a run that was stopped after its second epoch and went on."""
    place = tmp_path_factory.mktemp("best")
    add_class(place / "data", "brick", test=6)
    add_class(place / "data", "grass", test=6, masks=False)
    config = tiny_config(place / "data", **SETTINGS, train__checkpoint_every=6)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.checkpoints, "save", failing_after(loop.checkpoints.save, 6))
        with pytest.raises(KeyboardInterrupt):
            train(config, place / "run")
    lines = []
    train(config, place / "run", log=lines.append)
    return place, lines


def failing_after(save, step):
    """As a kill after the checkpoint of this step."""

    def save_or_die(manager, at, *rest):
        if at > step and manager.directory.parent.name == "run":
            raise KeyboardInterrupt
        save(manager, at, *rest)

    return save_or_die


@pytest.fixture(scope="module")
def report(place):
    return json.loads((place[0] / "run" / "stability.json").read_text())


def measured(run):
    return evaluate(run, replicates=0, log=lambda line: None)


def test_every_evaluated_epoch_is_there_class_by_class(place, report):
    assert report["window"] == [1.0, 4.0]
    assert report["epochs"] == [1.0, 2.0, 3.0, 4.0]
    assert report["steps"] == [3, 6, 9, 12]
    assert set(report["classes"]) == {"brick", "grass"}
    assert set(report["classes"]["brick"]) == set(METRICS)
    assert set(report["classes"]["grass"]) == {"image_auroc"}, "it has no masks"
    for metric in METRICS:
        own = [c[metric]["values"] for c in report["classes"].values() if metric in c]
        found = report[metric]
        np.testing.assert_allclose(found["values"], np.mean(own, 0))
        assert found["mean"] == pytest.approx(np.mean(found["values"]))
        assert found["std"] == pytest.approx(np.std(found["values"]))
        assert found["last"] == found["values"][-1]
        assert found["best"] == max(found["values"])
        at = found["values"].index(found["best"])
        assert found["best_step"] == report["steps"][at]
        assert found["classes_at_best"] == {
            name: c[metric]["values"][at] for name, c in report["classes"].items() if metric in c
        }
    assert len(set(report["image_auroc"]["values"])) > 1, "or nothing was told apart"


def test_the_last_state_is_what_eval_measures(place, report):
    results = measured(place[0] / "run")
    assert results["stability"] == report
    for metric in METRICS:
        assert report[metric]["last"] == pytest.approx(results["mean"][metric], abs=1e-5)
        for name, of_class in report["classes"].items():
            if metric in of_class:
                assert of_class[metric]["last"] == pytest.approx(results["classes"][name][metric], abs=1e-5)


@pytest.mark.parametrize("metric", METRICS[:2])
def test_each_best_state_is_a_run_of_its_own(metric, place, report):
    results = measured(place[0] / "run" / "best" / metric)
    assert results["step"] == report[metric]["best_step"]
    assert results["mean"][metric] == pytest.approx(report[metric]["best"], abs=1e-5)
    for name, value in report[metric]["classes_at_best"].items():
        assert results["classes"][name][metric] == pytest.approx(value, abs=1e-5)
    with pytest.raises(UserError, match="All good images were trained on"):
        Predictor.load(place[0] / "run" / "best" / metric)


def test_user_and_report_are_told_last_and_best_apart(place, report):
    _, lines = place
    said = [line for line in lines if line.startswith("Test ")]
    assert [line.split()[1] for line in said] == list(METRICS)
    found = report["pixel_aupro"]
    assert f"(last: {found['last']:.4f}; best, chosen on the test set: {found['best']:.4f})" in said[2]
    pages, table = [], []
    evaluate(
        place[0] / "run",
        replicates=0,
        render=lambda evaluated: pages.append(render(evaluated)) or pages[0],
        log=table.append,
    )
    assert "<h2>While training</h2>" in pages[0]
    for title in ("mean of classes over epochs", "brick over epochs", "grass over epochs"):
        assert f'aria-label="Histogram of {title}"' not in pages[0]
        assert f'aria-label="{title}"' in pages[0]
    brick = report["classes"]["brick"]["pixel_aupro"]
    shown = f"<td>{brick['mean']:.3f} ± {brick['std']:.3f}</td><td>{brick['last']:.3f}</td>"
    assert f"{shown}<td>{brick['best']:.3f}</td>" in pages[0]
    text = "\n".join(table)
    assert (
        "while training, 4 evaluations in epochs 1 to 4: mean ± deviation, last, and best (chosen on" in text
    )
    for name in ("brick", "grass", "mean"):
        assert f"\n  {name:<5}  image_auroc " in text


@pytest.mark.parametrize("changes", [{"eval__window": ()}, {"calibration__fraction": 0.15}])
def test_states_chosen_on_the_test_set_are_for_published_figures_alone(changes):
    config = tiny_config("data", **(SETTINGS | changes))
    with pytest.raises(UserError, match=r"eval\.keep is 'best', expected 'none'"):
        validate(config, 1)
