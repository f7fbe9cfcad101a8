"""FastFlow's flow: the inverse, the Jacobian of the whole map, permutations and widths."""

import functools

import jax
import numpy as np
import pytest

from hgad_jax.flows import conv_coupling, conv_flow
from hgad_jax.flows.coupling import GAMMA_OF_ONE
from hgad_jax.flows.permutation import permute, permute_back, random_permutations

H, W, CLAMP = 3, 2, 2.0


def draw(channels, kernel_sizes, num_blocks=4):
    """Parameters off their initial values, where a term left out might be zero."""
    init = functools.partial(
        conv_flow.init_params,
        channels=channels,
        num_blocks=num_blocks,
        kernel_sizes=kernel_sizes,
        hidden_ratio=1.0,
    )
    rng = np.random.default_rng(channels)
    shapes = jax.eval_shape(init, jax.random.key(0))
    params = jax.tree.map(lambda s: 0.4 * rng.normal(size=s.shape).astype(np.float32), shapes)
    params = tuple(p._replace(gamma=p.gamma + np.float32(GAMMA_OF_ONE)) for p in params)
    permutations = rng.permuted(np.tile(np.arange(channels, dtype=np.int32), (num_blocks, 1)), axis=1)
    permutations = permutations.reshape(-1, len(kernel_sizes), channels)
    x = rng.normal(size=(2, H, W, channels)).astype(np.float32)
    return params, permutations, x


FORWARD = jax.jit(functools.partial(conv_flow.forward, clamp=CLAMP))
INVERSE = jax.jit(functools.partial(conv_flow.inverse, clamp=CLAMP))
CASES = {"even": (6, (3, 1)), "odd": (5, (3, 1)), "all 3×3": (4, (3,))}


@pytest.mark.parametrize("case", CASES)
def test_inverse_and_log_det(case):
    params, permutations, x = draw(*CASES[case])
    z, log_det = FORWARD(params, permutations, x)
    back, inverse_log_det = INVERSE(params, permutations, z)
    np.testing.assert_allclose(back, x, atol=5e-5)
    np.testing.assert_allclose(log_det + inverse_log_det, 0, atol=1e-4)
    assert z.shape == x.shape
    assert log_det.shape == x.shape[:-1]
    jacobian = jax.jacrev(lambda one: FORWARD(params, permutations, one[None])[0][0])
    for image, share in zip(x, log_det, strict=True):
        matrix = np.asarray(jacobian(image), np.float64).reshape(image.size, image.size)
        np.testing.assert_allclose(share.sum(), np.linalg.slogdet(matrix)[1], atol=1e-4)


def test_a_position_sees_its_neighbours_with_3x3_only():
    for kernels, spreads in (((3,), True), ((1,), False)):
        params, permutations, x = draw(4, kernels)
        moved = x.copy()
        moved[:, 0, 0] += 1.0
        change = np.abs(FORWARD(params, permutations, moved)[0] - FORWARD(params, permutations, x)[0]).max(-1)
        assert (change[:, 1, 1] > 1e-4).all() == spreads


@pytest.mark.parametrize("k", [1, 3, 5])
def test_convolution_is_that_of_scipy(k):
    from scipy.signal import correlate

    rng = np.random.default_rng(k)
    x, kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 5, 4, 3), (k, k, 3, 6), (6,)))
    padded = np.pad(x, ((0, 0), (k // 2,) * 2, (k // 2,) * 2, (0, 0))).astype(np.float64)
    expected = np.stack(
        [
            np.stack([correlate(image, kernel[..., o], mode="valid")[..., 0] for o in range(6)], -1)
            for image in padded
        ]
    )
    np.testing.assert_allclose(conv_coupling.convolve(x, kernel, bias), expected + bias, atol=1e-4)


def test_identity_couplings_only_permute():
    params, permutations, x = draw(6, (3, 1))
    init = functools.partial(
        conv_flow.init_params, channels=6, num_blocks=4, kernel_sizes=(3, 1), hidden_ratio=1.0, identity=True
    )
    params = jax.jit(init)(jax.random.key(0))
    z, log_det = FORWARD(params, permutations, x)
    expected = functools.reduce(lambda x, p: x[..., p], permutations.reshape(4, 6), x)
    np.testing.assert_allclose(z, expected, atol=1e-5)
    np.testing.assert_allclose(log_det, 0, atol=1e-5)


def test_permutations_are_permutations_and_differ():
    permutations = np.asarray(random_permutations(jax.random.key(0), 20, 9))
    assert (np.sort(permutations, 1) == np.arange(9)).all()
    assert len(np.unique(permutations, axis=0)) == 20
    x = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float32)
    np.testing.assert_array_equal(permute(x, permutations[0])[:, 0], x[:, permutations[0, 0]])
    np.testing.assert_array_equal(permute_back(permute(x, permutations[0]), permutations[0]), x)


def test_published_widths():
    """FastFlow's hidden width is a share of the passive half, rounded down: int(384 · 0.16) = 61."""
    init = functools.partial(
        conv_flow.init_params, channels=768, num_blocks=20, kernel_sizes=(3, 1), hidden_ratio=0.16
    )
    three, one = jax.eval_shape(init, jax.random.key(0))
    assert three.hidden_kernel.shape == (10, 3, 3, 384, 61)
    assert one.out_kernel.shape == (10, 1, 1, 61, 768)
