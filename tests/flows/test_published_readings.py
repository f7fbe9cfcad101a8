"""Flows as a paper's text has them, where known codes have them otherwise, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.flows import FLOWS

SIZE = (3, 4, 6)
DENSE = {"num_blocks": 2, "condition_channels": 4, "hidden_ratio": 1.0, "clamp": 1.9, "identity_init": False}
CONVOLUTION = {
    "num_blocks": 2,
    "kernel_sizes": (3, 1),
    "hidden_ratio": 1.0,
    "clamp": 2.0,
    "identity_init": False,
}


def images(seed=0):
    return np.random.default_rng(seed).normal(size=(2, *SIZE)).astype(np.float32)


def block(params, rotation, codes, x):
    """A coupling without a trained scale, float64: (y, log-det)."""
    passive, moved = np.split(x, 2, -1)
    inner = passive @ params["passive_kernel"] + codes @ params["condition_kernel"] + params["hidden_bias"]
    raw = np.maximum(inner, 0) @ params["out_kernel"] + params["out_bias"]
    scale = 1.9 * np.tanh(0.1 * raw[..., : moved.shape[-1]])
    moved = moved * np.exp(scale) + 0.1 * raw[..., moved.shape[-1] :]
    return np.concatenate([passive, moved], -1) @ rotation.T, scale.sum(-1)


def test_a_fixed_scale_is_one_whatever_the_parameters_say():
    """The text of HGAD: scaled by a constant; the released code trains a scale and an offset."""
    flow, rng = FLOWS["dense"](**DENSE, fixed_scale=True), np.random.default_rng(1)
    params = flow.init(jax.random.key(0), SIZE)
    moved = params._replace(
        gamma=params.gamma + rng.normal(size=params.gamma.shape).astype(np.float32),
        offset=params.offset + rng.normal(size=params.offset.shape).astype(np.float32),
    )
    rotations, x = flow.draw(jax.random.key(1), SIZE), images()
    h, w, _ = SIZE
    columns, rows = np.meshgrid(np.arange(w), np.arange(h))
    codes = np.stack([np.sin(columns), np.cos(columns), np.sin(rows), np.cos(rows)], -1)
    expected, total = x.astype(np.float64), 0.0
    for k in range(2):
        own = {name: np.asarray(value[k], np.float64) for name, value in moved._asdict().items()}
        expected, log_det = block(own, np.asarray(rotations[k], np.float64), codes, expected)
        total = total + log_det
    z, found = flow.forward(moved, rotations, x)
    np.testing.assert_allclose(z, expected, atol=1e-5)
    np.testing.assert_allclose(found, total, atol=1e-5)
    ready = flow.forward(flow.at(moved, (h, w)), rotations, x)
    np.testing.assert_allclose(ready[0], expected, atol=1e-5)
    vectors, _ = flow.forward_vectors(moved, rotations, x[0].reshape(-1, 6), np.arange(h * w), (h, w))
    np.testing.assert_allclose(vectors, expected[0].reshape(-1, 6), atol=1e-5)
    np.testing.assert_allclose(flow.inverse(moved, rotations, z)[0], x, atol=1e-5)
    gradient = jax.grad(lambda p: jnp.sum(flow.forward(p, rotations, x)[0] ** 2))(moved)
    assert not gradient.gamma.any()
    assert not gradient.offset.any()
    assert gradient.out_kernel.any()
    trained = FLOWS["dense"](**DENSE)
    assert np.abs(trained.forward(moved, rotations, x)[0] - expected).max() > 0.1


@pytest.mark.parametrize("kind", ["fixed", "trainable"])
def test_the_norm_of_outputs_is_of_each_image_and_costs_no_log_determinant(kind):
    """AltUB's sentence read as written: layer normalization of what the flow gives."""
    plain, normed = (FLOWS["convolution"](**CONVOLUTION, output_norm=k) for k in ("none", kind))
    params = normed.init(jax.random.key(0), SIZE)
    permutations, x = normed.draw(jax.random.key(1), SIZE), images()
    assert (params.output_norm is None) == (kind == "fixed")
    z, log_det = plain.forward(params, permutations, x)
    z = np.asarray(z, np.float64)
    flat = z.reshape(2, -1)
    expected = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    if kind == "trainable":
        rng = np.random.default_rng(2)
        affine = params.output_norm._replace(
            scale=rng.normal(size=SIZE).astype(np.float32), offset=rng.normal(size=SIZE).astype(np.float32)
        )
        params = params._replace(output_norm=affine)
        expected = expected * affine.scale.ravel() + affine.offset.ravel()
    found, same = normed.forward(params, permutations, x)
    np.testing.assert_allclose(np.asarray(found).reshape(2, -1), expected, atol=1e-5)
    np.testing.assert_array_equal(same, log_det)
    assert normed.inverse is None
    assert plain.inverse is not None
