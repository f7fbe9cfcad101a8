"""A run that trains on all good images, as papers do: published figures, no thresholds, no decisions."""

import json

import numpy as np
import pytest
from trees import add_class, tiny_config

from hgad_jax.config import get_config, validate
from hgad_jax.data import load_dataset
from hgad_jax.data.split import hold_out
from hgad_jax.errors import UserError
from hgad_jax.evaluation.decide import decide
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.exporting.export import export
from hgad_jax.inference.predict import predict
from hgad_jax.inference.predictor import Predictor
from hgad_jax.report.page import render
from hgad_jax.runs import checkpoints
from hgad_jax.serving.models import open_model
from hgad_jax.training.loop import train

SMALL = {"train__epochs": 2.0, "detector__num_blocks": 1, "bank__size": 0, "data__detail": 1}
PUBLISHED = {
    "calibration__fraction": 0.0,
    "scoring__protocol": "paper",
    "scoring__image_score": "map",
    "scoring__map_size": 48,
    "train__keep": "last",
}
SAID = r"All good images were trained on \(config\.calibration\.fraction=0"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("all")
    for name in ("brick", "grass"):
        add_class(place / "data", name)
    return place


@pytest.fixture(scope="module")
def lines(place):
    said = []
    train(tiny_config(place / "data", **SMALL, **PUBLISHED), place / "run", log=said.append)
    return said


def test_all_images_are_trained_on_and_the_user_is_told(lines, place):
    assert any("24 good images to train on, 0 to calibrate on" in line for line in lines)
    assert any(line.startswith("All good images were trained on") for line in lines)
    with checkpoints.open_manager(place / "run", read_only=True) as manager:
        metadata = checkpoints.newest_metadata(manager)
    assert metadata["images"] == {"train": {"brick": 12, "grass": 12}, "held_out": {"brick": 0, "grass": 0}}
    assert metadata["step"] == 6  # 2 epochs of 24 images, 8 a step
    assert "calibration" not in metadata["arrays"]


def test_training_goes_on_where_it_was(lines, place):
    said = []
    train(tiny_config(place / "data", **SMALL, **PUBLISHED), place / "run", log=said.append)
    assert any("nothing to train" in line for line in said)


def test_the_published_protocol_measures_it(lines, place):
    said, pages = [], []

    def page(evaluated):
        pages.append(render(evaluated))
        assert evaluated.scored.maps.read(0, 1).shape == (1, 48, 48)  # scoring.map_size
        return pages[0]

    results = evaluate(place / "run", render=page, log=said.append)
    assert results["protocol"] == "paper"
    assert set(results["classes"]) == {"brick", "grass"}
    assert np.isfinite(results["mean"]["image_auroc"])
    assert np.isfinite(results["mean"]["pixel_aupro"])
    assert "threshold" not in results["classes"]["brick"]
    assert not {"choices", "shifts", "apart", "regions"} & set(results)
    assert "Worst false alarms" in pages[0]
    assert json.loads((place / "run" / "eval" / "results.json").read_text())["protocol"] == "paper"


@pytest.mark.parametrize(
    "use",
    [
        lambda run, out: evaluate(run, protocol="calibrated"),
        lambda run, out: predict(run, [str(run.parent / "data" / "brick" / "test")], out),
        lambda run, out: Predictor.load(run),
        lambda run, out: export(run, out),
        lambda run, out: decide(run),
        lambda run, out: decide(run, threshold="conformal", write=True),
        lambda run, out: open_model(run),  # of serve and watch
    ],
    ids=["calibrated", "predict", "Predictor", "export", "decide", "a choice", "serve"],
)
def test_whatever_decides_is_refused_and_leaves_nothing(use, lines, place, tmp_path):
    before = sorted(p.name for p in (place / "run").iterdir())
    with pytest.raises(UserError, match=SAID) as refused:
        use(place / "run", tmp_path / "out")
    assert "'eval' measures" in str(refused.value)
    assert "--config.calibration.fraction=0.15" in str(refused.value)
    assert str(place / "run") in str(refused.value)
    assert not (tmp_path / "out").exists()
    assert sorted(p.name for p in (place / "run").iterdir()) == before


def test_what_needs_held_out_images_is_refused_before_training():
    for words, changes, expected in (
        ("hgad_folder", {}, "calibration.fraction is 0, expected above 0 with scoring.protocol='calibrated'"),
        ("hgad_folder:paper", {"train.keep": "best"}, "expected above 0 with train.keep='best'"),
    ):
        config = get_config(words)
        config.update_from_flattened_dict({"calibration.fraction": 0.0} | changes)
        with pytest.raises(UserError, match=expected):
            validate(config, 1)


@pytest.mark.parametrize("name", ["hgad", "cflow", "fastflow", "padim", "spade", "patchcore", "uflow"])
def test_every_paper_preset_trains_on_all(name):
    paper, default = get_config(f"{name}_mvtec_ad:paper"), get_config(f"{name}_mvtec_ad:default")
    assert (paper.calibration.fraction, paper.scoring.protocol) == (0.0, "paper")
    assert (default.calibration.fraction, default.scoring.protocol) == (0.15, "calibrated")


def test_a_fraction_of_nought_holds_out_nothing(place):
    config = tiny_config(place / "data")
    records = load_dataset(config.data).train
    assert hold_out(records, fraction=0.0, min_images=10, seed=0) == (list(range(24)), [])
