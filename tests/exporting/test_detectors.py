"""Every detector, and every way that an image can go through one, exports and says what its run says."""

import numpy as np
import pytest
from trees import TINY, add_class, tiny_config

import hgad_jax
from hgad_jax.config import get_config
from hgad_jax.exporting.export import export
from hgad_jax.inference.predictor import Predictor
from hgad_jax.training.loop import train

SHARED = {key: value for key, value in TINY.items() if key.split(".")[0] not in ("detector", "bank")}
SHARED |= {"train.positions": 0, "train.stage_two_epoch": 0.0, "train.epochs": 1.0}
FITTED = {"train.epochs": 0.0}
FIBRES = {"detector.fibre": 256, "detector.condition_channels": 8, "detector.num_blocks": 2}
# Experiment and words, settings.
DETECTORS = {
    "cflow": ("cflow_folder", "", FIBRES),
    "uflow": ("cflow_folder", "", FIBRES | {"detector.condition_channels": 0}),
    "fastflow": ("fastflow_folder", "altub", {"detector.num_blocks": 2}),
    "padim": ("padim_folder", "", FITTED | {"detector.dimensions": 20}),
    "spade": ("spade_folder", "", FITTED | {"detector.gallery": 16, "detector.neighbours": 5}),
    "patchcore": (
        "patchcore_folder",
        "",
        FITTED | {f"detector.bank_{k}": TINY[f"bank.{k}"] for k in ("size",)},
    ),
}
# Changes of the tiny HGAD; the first has a bank and every mode.
WAYS = {
    "hgad": {},
    "hgad of one class": {"data__class_name": "brick"},
    "tiles": {"data__tiles": 2, "bank__size": 0, "data__detail": 1},
    "letterbox": {"data__resize": "letterbox", "bank__size": 0, "data__detail": 1},
    "crop": {"data__resize": "short_side_crop", "bank__size": 0, "data__detail": 1},
    "bfloat16": {"backbone__dtype": "bfloat16", "bank__size": 0, "data__detail": 1},
    "given": {"scoring__classes": "given", "bank__size": 0, "data__detail": 1},
    "a score of the map": {"scoring__image_score": "map", "bank__size": 0, "data__detail": 1},
    "the paper's": {"scoring__pixel_map": "paper", "bank__size": 0, "data__detail": 1},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = tmp_path_factory.mktemp("detectors") / "data"
    for name in ("brick", "grass"):
        add_class(data, name)
    return data


def agree(config, place):
    """Trains, exports (which compares all that there is to ask), and asks once more from outside."""
    train(config, place / "run")
    found = export(place / "run", place / "model", log=lambda line: None)
    assert found.questions >= 2 * len({"given", "inferred"}) * 3
    run, line = Predictor.load(place / "run"), hgad_jax.load(place / "model")
    name = run.scorer.classes[0] if run.scorer.mode == "given" else None
    image = np.random.default_rng(3).integers(0, 256, (90, 61, 3), np.uint8)
    here, there = run(image, class_name=name), line(image, class_name=name)
    assert there.score == pytest.approx(here.score, rel=1e-5, abs=1e-5)
    assert (there.anomalous, there.class_name) == (here.anomalous, here.class_name)
    np.testing.assert_allclose(there.map, here.map, rtol=1e-4, atol=1e-4)


QUICK = ("patchcore", "hgad", "tiles")  # of each kind one; all take minutes to compile


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in DETECTORS]
)
def test_every_detector(name, data, tmp_path):
    experiment, words, settings = DETECTORS[name]
    config = get_config(experiment, words)
    places = {"data.root": str(data), "cache.dir": str(tmp_path / "cache")}
    config.update_from_flattened_dict(SHARED | settings | places)
    agree(config, tmp_path)


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=() if way in QUICK else pytest.mark.slow) for way in WAYS]
)
def test_every_way(way, data, tmp_path):
    agree(tiny_config(data, tmp_path / "cache", train__epochs=1.0, **WAYS[way]), tmp_path)
