"""What a model is built of: levels of the bank beside a detector, and evidence of levels that are there."""

import numpy as np
import pytest
from trees import tiny_config

from hgad_jax.config import get_config
from hgad_jax.errors import UserError
from hgad_jax.runs.model import bank_taps, build_model


@pytest.mark.parametrize(
    ("backbone", "changes", "expected"),
    [
        ("tf_efficientnet_lite0", {}, ("blocks.4", "blocks.6")),
        ("resnet18", {}, ("layer3", "layer4")),
        ("deit_base_distilled_patch16_384", {}, ("blocks.7.norm",)),  # a transformer has one
        ("resnet18", {"bank.taps": ("layer1",)}, ("layer1",)),
        ("resnet18", {"bank.size": 0, "bank.taps": ("layer1",)}, ()),
    ],
)
def test_the_bank_is_of_all_levels_but_the_finest(backbone, changes, expected):
    config = get_config("hgad_folder")
    config.update_from_flattened_dict({"backbone.name": backbone} | changes)
    assert bank_taps(config) == expected


def test_levels_say_what_they_are_of(tmp_path):
    levels = build_model(tiny_config(tmp_path), 1).levels
    assert levels.names == ("blocks.2 of 64 px", "blocks.4 of 64 px", "blocks.4 of 128 px")
    assert levels.sizes[levels.coarse] == levels.sizes[:2]
    assert levels.sizes[2][:2] == tuple(2 * side for side in levels.sizes[1][:2])


def test_all_levels_but_those_in_detail_see_the_mean_of_the_pixels(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(20, 235, (2, 64, 64, 3))
    spread = rng.integers(-20, 20, (2, 64, 64, 3))  # within each square of four pixels, which leaves its mean
    detailed = np.empty((2, 128, 128, 3), np.uint8)
    for y, x, sign in ((0, 0, 1), (0, 1, -1), (1, 0, -1), (1, 1, 1)):
        detailed[:, y::2, x::2] = image + sign * spread
    config = tiny_config(tmp_path)
    both = build_model(config, 1).levels
    config.update_from_flattened_dict({"data.detail": 1, "bank.size": 0})
    plain = build_model(config, 1).levels
    found = both.apply(both.variables, detailed)
    for a, b in zip(found[both.coarse], plain.apply(plain.variables, image.astype(np.uint8)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    smooth = both.apply(both.variables, image.astype(np.uint8).repeat(2, 1).repeat(2, 2))
    assert np.abs(found[2] - smooth[2]).max() > 0.01, "the bank sees the pixels themselves"


@pytest.mark.parametrize("evidence", [("3",), ("0", "1+3@position")])
def test_evidence_of_a_level_that_is_not_there_is_refused_before_anything_is_computed(tmp_path, evidence):
    with pytest.raises(UserError, match=r"config\.scoring\.evidence has '.*3.*', expected numbers below 3"):
        build_model(tiny_config(tmp_path, scoring__evidence=evidence), 1)
