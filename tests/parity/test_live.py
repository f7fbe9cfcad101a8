"""Backbones against the timm that is installed; collected where the extra `parity` is."""

import importlib.util

import jax
import numpy as np
import pytest
from parity import rule

from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.backbones.weights import abstract_params, convert, expected_tensors

INSTALLED = all(importlib.util.find_spec(name) for name in ("timm", "torch"))
NAMES = [
    "tf_efficientnet_lite0",
    "tf_efficientnet_b0",
    "resnet18",
    "resnet50",
    "mobilenetv3_large_100",
    "deit_tiny_distilled_patch16_224",
    "cait_xxs24_224",
    "vit_small_patch14_dinov2",
    "vit_small_patch14_reg4_dinov2",
]


if INSTALLED:
    from parity import timm_reference

    @pytest.mark.parametrize("at", [((96, 96), (84, 84)), ((61, 83), (70, 574))])
    @pytest.mark.parametrize("name", NAMES)
    def test_every_tap_equals_the_live_one(name, at):
        size = at["dinov2" in name]
        spec, shapes = CATALOGUE[name].build(), timm_reference.tensors(name)
        assert expected_tensors(spec, next(iter(spec.dialects))) == shapes
        taps = (*spec.taps, "logits")
        model = timm_reference.create(name, size)
        timm_reference.fill(model, shapes)
        theirs = timm_reference.run(model, name, size, taps)
        params = convert(rule.state_dict(shapes), spec, abstract_params(spec, taps), name=name, file="rule")
        ours = jax.jit(spec.network(taps).apply)({"params": params}, rule.image(size)[None])
        for tap, found in zip(taps, ours, strict=True):
            error = np.linalg.norm(found[0] - theirs[tap]) / np.linalg.norm(theirs[tap])
            assert error < 1e-4, tap
