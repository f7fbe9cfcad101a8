"""Winograd's convolution beside the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from hgad_jax.backbones import apply_function, winograd
from hgad_jax.backbones.catalogue import CATALOGUE
from hgad_jax.backbones.weights import abstract_params, random_params


def plain(x, kernel, padding):
    """Correlation of every pair of channels, in float64 by SciPy."""
    x = np.pad(x.astype(np.float64), ((0, 0), *padding, (0, 0)))
    result = 0
    for i in range(x.shape[-1]):
        each = [
            [scipy.signal.correlate2d(image[..., i], kernel[:, :, i, o], "valid") for image in x]
            for o in range(kernel.shape[-1])
        ]
        result = result + np.moveaxis(np.array(each), 0, -1)
    return result


@pytest.mark.parametrize("size", [(4, 6), (5, 4), (7, 7), (2, 3)])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((0, 1), (2, 1))])
def test_equals_the_convolution(size, padding):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3), np.float32)
    kernel = rng.standard_normal((3, 3, 3, 5), np.float32)
    expected = plain(x, kernel, padding)
    found = jax.jit(winograd.convolve, static_argnames="padding")(
        x, winograd.ready_kernel(jnp.asarray(kernel)), padding=padding
    )
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


def test_only_wide_float32_kernels_are_made_ready():
    def params(shape, dtype=np.float32):
        return {"kernel": jnp.zeros(shape, dtype), "bias": jnp.zeros(shape[-1])}

    layers = {
        "wide": params((3, 3, 64, 128)),
        "narrow": params((3, 3, 3, 64)),
        "seven": params((7, 7, 64, 64)),
        "rough": params((3, 3, 64, 64), jnp.bfloat16),
    }
    ready = winograd.with_ready_kernels({"params": layers})[winograd.COLLECTION]
    assert jax.tree.map(jnp.shape, ready) == {"wide": {"kernel": (4, 4, 64, 128)}}
    few = {"params": {"narrow": layers["narrow"]}}
    assert winograd.with_ready_kernels(few) is few


@pytest.mark.parametrize("side", [64, 75])
def test_a_resnet_on_cpu_gives_what_its_convolutions_give(side):
    spec, taps = CATALOGUE["resnet18"].build(), ("layer1", "layer2", "layer3")
    variables = {"params": random_params(abstract_params(spec, taps), 0)}
    images = np.random.default_rng(1).standard_normal((2, side, side, 3), np.float32)
    apply = apply_function(spec, taps, ((0.0,) * 3, (1.0,) * 3))
    program = apply.lower(variables, images).as_text()
    assert "4x4x64x64" in program, "Winograd's kernels are used"
    for found, expected in zip(
        apply(variables, images), jax.jit(spec.network(taps).apply)(variables, images), strict=True
    ):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
