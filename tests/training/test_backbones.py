"""HGAD takes a training step and evaluates on every backbone; random weights, images of 64 pixels."""

import math

import pytest
from trees import add_class, tiny_config

from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.evaluation.evaluate import evaluate
from hgad_jax.runs import extraction
from hgad_jax.runs.mesh import data_mesh
from hgad_jax.training.loop import train

SETTINGS = {
    "backbone__source": "random",
    "bank__taps": (),
    "detector__conditioning": "none",
    "detector__regions": 0,
    "train__epochs": 1.0,  # one batch
    "train__stage_two_epoch": 0.0,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("backbones")
    add_class(root, "brick")
    return root


@pytest.fixture(autouse=True)
def _backbone_on_one_device(monkeypatch):
    """Eight copies of the largest weights, for training and for evaluation, are 20 GB."""
    extraction._spread.cache_clear()
    monkeypatch.setattr(extraction, "data_mesh", lambda devices: data_mesh(devices[:1]))
    yield
    extraction._spread.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_one_step_and_evaluation(name, images, tmp_path):
    taps = CATALOGUE[name].taps[:1]
    config = tiny_config(images, backbone__name=name, backbone__taps=taps, **SETTINGS)
    state = train(config, tmp_path / "run")
    assert int(state.step) == 1
    results = evaluate(tmp_path / "run", log=lambda line: None)
    assert math.isfinite(results["mean"]["image_auroc"])


@pytest.mark.slow
def test_one_tap_at_three_scales(images, tmp_path):
    config = tiny_config(
        images, backbone__name="resnet18", backbone__taps=("layer2",), backbone__scales=(1, 2, 4), **SETTINGS
    )
    assert len(train(config, tmp_path / "run").params) == 3
