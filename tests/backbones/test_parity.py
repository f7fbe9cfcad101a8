"""Every backbone against the recorded outputs of timm's, tap by tap (see tests/parity/record.py)."""

from pathlib import Path

import numpy as np
import pytest
from parity import rule

from hgad_jax import backbones
from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.backbones.weights import expected_tensors, parameter_count

FIXTURES = Path(__file__).parents[1] / "fixtures" / "backbones"
# One small member of each family, and those whose code others do not reach; the others are slow.
QUICK = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_b0",
    "resnet18",
    "resnet50",
    "mobilenetv3_small_100",
    "deit_tiny_distilled_patch16_224",
    "cait_xxs24_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
)
TOLERANCE = 1e-4  # relative


def recording(name):
    with np.load(FIXTURES / f"{name}.npz") as file:
        return dict(file)


def backbones_by_speed():
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CATALOGUE]


def test_every_backbone_has_its_recording_and_no_other():
    assert {path.stem for path in FIXTURES.glob("*.npz")} == set(CATALOGUE)


@pytest.mark.parametrize("name", backbones_by_speed())
def test_taps_equal_the_recorded_ones(name, monkeypatch):
    recorded, spec = recording(name), CATALOGUE[name].build()
    shapes, taps = (
        expected_tensors(spec, "timm" if "timm" in spec.dialects else next(iter(spec.dialects))),
        rule.recorded_taps(spec.taps),
    )
    assert rule.names_hash(shapes) == recorded["names_hash"]
    assert parameter_count(spec) == recorded["parameters"]
    backbone = load_filled(name, shapes, taps, monkeypatch)
    for label, size in rule.sizes(name).items():
        image = rule.image(size) * np.float32(backbone.std) + np.float32(backbone.mean)
        for tap, found in zip(taps, backbone.apply(backbone.variables, image[None]), strict=True):
            assert found.shape[1:] == tuple(recorded[f"{label}/{tap}/shape"])
            compare(found[0], recorded, f"{label}/{tap}")


def load_filled(name, shapes, taps, monkeypatch):
    """The backbone with the weights of the rule, loaded as those of a file are."""
    weights = backbones.sources.Weights(rule.state_dict(shapes), Path("rule"), "0")
    monkeypatch.setattr(backbones, "warn_if_ambiguous", lambda choice: None)
    monkeypatch.setattr(backbones, "read_weights", lambda choice, source: weights)
    return backbones.load(name, taps=taps, source="rule")


def compare(found, recorded, key):
    """Within 1e-4 of the map in the Euclidean norm, and nowhere further off than five times that."""
    size = recorded[f"{key}/statistics"][1]
    ours = rule.summary(found)
    for part in ("sample", "statistics"):
        error = np.abs(ours[part] - recorded[f"{key}/{part}"]) / size
        assert np.sqrt((error**2).mean()) < TOLERANCE, f"{key} {part}"
        assert error.max() < 5 * TOLERANCE, f"{key} {part}"
