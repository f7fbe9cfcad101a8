"""Properties that every invertible map of the package has, and facts of the published flow."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import special_ortho_group

from hgad_jax.flows import coupling, flow
from hgad_jax.flows.conditioning import apply_affine, fit_affine, identity_affine, invert_affine
from hgad_jax.flows.rotation import random_rotation, random_rotations

H, W, CLASSES, CLAMP = 2, 3, 3, 1.9
GROUPS = jnp.array([2, 0, 1, 2])


class Map(NamedTuple):
    """Maps of one kind are the same functions of different parameters, and compiled once."""

    forward: callable  # parameters, x [B, h, w, C], groups [B] → z, log_det
    inverse: callable
    params: tuple
    channels: int


def blocks(channels, identity=False, num_blocks=3):
    """Parameters and rotations. Nothing is at its initial value, where a term left out might be zero."""
    init = functools.partial(flow.init_params, channels=channels, num_blocks=num_blocks, condition_channels=8)
    shapes = jax.eval_shape(init, jax.random.key(0))
    rng = np.random.default_rng(channels)
    params = jax.tree.map(lambda s: 0.4 * rng.normal(size=s.shape).astype(np.float32), shapes)
    params = params._replace(gamma=params.gamma + np.float32(coupling.GAMMA_OF_ONE))
    if identity:
        params = params._replace(
            out_kernel=0 * params.out_kernel,
            out_bias=0 * params.out_bias,
            gamma=np.full_like(params.gamma, coupling.GAMMA_OF_ONE),
            offset=0 * params.offset,
        )
    rotations = special_ortho_group(channels, seed=rng).rvs(num_blocks).astype(np.float32)
    return params, rotations


def one_block(channels, identity=False):
    params, rotations = blocks(channels, identity)
    return coupling.CouplingParams(*(x[0] for x in params)), rotations[0]


def projection(params):
    """What the subnet adds for the position, bias included; anything will do."""
    shape = (H, W, len(params.hidden_bias))
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def coupling_forward(params, x, groups):
    return coupling.forward(*params, x, clamp=CLAMP)


def coupling_inverse(params, z, groups):
    return coupling.inverse(*params, z, clamp=CLAMP)


def coupling_map(channels):
    params, rotation = one_block(channels)
    params = (coupling.block(params, projection(params)), rotation)
    return Map(coupling_forward, coupling_inverse, params, channels)


def fitted_affine(channels, kind, per_class, regions):
    rng = np.random.default_rng(5)
    labels = np.arange(30) % CLASSES
    means = rng.normal(size=(CLASSES, H, W, channels))
    mixing = rng.normal(size=(CLASSES, channels, channels)) + 2 * np.eye(channels)
    features = means[labels] + np.einsum(
        "bhwc,bcd->bhwd", rng.normal(size=(30, H, W, channels)), mixing[labels]
    )
    batch = (features.astype(np.float32), labels)
    return fit_affine(
        lambda: [batch],
        CLASSES,
        kind=kind,
        per_class=per_class,
        regions=regions,
        shrinkage=0.01,
        offsets=rng.normal(size=(CLASSES if per_class else 1, channels)),
    )


def affine_forward(layer, x, groups):
    return apply_affine(layer, x, groups % len(layer.mean))  # a pooled layer has group 0 alone


def affine_inverse(layer, z, groups):
    return invert_affine(layer, z, groups % len(layer.mean))


def affine_map(channels, layer):
    return Map(affine_forward, affine_inverse, layer, channels)


def flow_forward(params, x, groups):
    return flow.forward(*params, x, clamp=CLAMP)


def flow_inverse(params, z, groups):
    return flow.inverse(*params, z, clamp=CLAMP)


def flow_map(channels, identity=False):
    return Map(flow_forward, flow_inverse, blocks(channels, identity), channels)


def model_forward(params, x, groups):
    first, rest = params
    x, first_log_det = apply_affine(first, x, groups)
    z, log_det = flow_forward(rest, x, groups)
    return z, first_log_det + log_det


def model_inverse(params, z, groups):
    first, rest = params
    x, log_det = flow_inverse(rest, z, groups)
    x, first_log_det = invert_affine(first, x, groups)
    return x, first_log_det + log_det


def model_map(channels, layer):
    """First layer and flow, as a detector has them."""
    return Map(model_forward, model_inverse, (layer, blocks(channels)), channels)


MAPS = {
    "coupling_even": lambda: coupling_map(6),
    "coupling_odd": lambda: coupling_map(5),
    "affine_identity": lambda: affine_map(5, identity_affine(5)),
    "affine_standardize": lambda: affine_map(5, fitted_affine(5, "standardize", False, 0)),
    "affine_whiten": lambda: affine_map(5, fitted_affine(5, "whiten", False, 0)),
    "affine_whiten_one_region": lambda: affine_map(5, fitted_affine(5, "whiten", False, 1)),
    "affine_whiten_class_regions": lambda: affine_map(5, fitted_affine(5, "whiten", True, 3)),
    "flow_even": lambda: flow_map(6),
    "flow_odd": lambda: flow_map(5),
    "flow_identity": lambda: flow_map(6, identity=True),
    "model_whiten_class_regions": lambda: model_map(5, fitted_affine(5, "whiten", True, 3)),
}


class RoundTrip(NamedTuple):
    """x → z → x, and the log-dets of both ways."""

    z: jax.Array
    forward: jax.Array
    back: jax.Array
    inverse: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1))
def round_trip(forward, inverse, params, x, groups):
    z, log_det = forward(params, x, groups)
    return RoundTrip(z, log_det, *inverse(params, z, groups))


@functools.partial(jax.jit, static_argnums=0)
def jacobian(forward, params, x, groups):
    return jax.jacrev(lambda x: forward(params, x, groups)[0])(x)


@pytest.fixture(scope="module", params=MAPS)
def bijection(request):
    return MAPS[request.param]()


@pytest.fixture(scope="module")
def x(bijection):
    rng = np.random.default_rng(0)
    return rng.normal(size=(len(GROUPS), H, W, bijection.channels)).astype(np.float32)


@pytest.fixture(scope="module")
def trip(bijection, x):
    return round_trip(*bijection[:3], x, GROUPS)


def test_inverse_undoes_forward(trip, x):
    np.testing.assert_allclose(trip.back, x, atol=2e-5)


def test_log_dets_of_forward_and_inverse_cancel(trip):
    np.testing.assert_allclose(trip.forward + trip.inverse, 0, atol=1e-5)


def test_shapes_and_dtypes(trip, x):
    assert trip.z.shape == trip.back.shape == x.shape
    assert trip.forward.shape == trip.inverse.shape == x.shape[:-1]
    assert all(a.dtype == np.float32 for a in trip)


def test_log_det_is_that_of_the_jacobian(bijection, trip, x):
    """Of each position's own C×C Jacobian, and no position depends on another."""
    x, groups = x[:2], GROUPS[:2]
    actual = jacobian(bijection.forward, bijection.params, x, groups)
    vectors = x.size // bijection.channels
    actual = np.asarray(actual, np.float64).reshape(2 * (vectors, bijection.channels))
    own = actual[np.arange(vectors), :, np.arange(vectors), :]
    assert np.count_nonzero(actual) == np.count_nonzero(own)
    expected = np.linalg.slogdet(own)[1].reshape(x.shape[:-1])
    np.testing.assert_allclose(trip.forward[:2], expected, atol=1e-5)


def test_jit_equals_eager(bijection, trip, x):
    for jitted, eager in zip(trip, bijection.forward(bijection.params, x, GROUPS), strict=False):
        np.testing.assert_allclose(jitted, eager, atol=2e-5)


def test_batch_of_one_equals_batch_of_four(bijection, trip, x):
    for i in range(len(x)):
        alone = round_trip(*bijection[:3], x[i : i + 1], GROUPS[i : i + 1])
        for one, four in zip(alone, trip, strict=True):
            np.testing.assert_allclose(one[0], four[i], atol=2e-5)


@pytest.mark.parametrize("channels", [1, 33])
def test_rotation_is_orthogonal_with_determinant_one(channels):
    rotations = jax.jit(functools.partial(random_rotations, count=2, channels=channels))(jax.random.key(0))
    for rotation in np.asarray(rotations, np.float64):
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(channels), atol=1e-5)
        np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-5)


def test_rotations_have_the_moments_of_the_haar_measure():
    """E R = 0 and E R_ij² = 1/C, in every entry: QR without the sign correction fails on the diagonal."""
    count, channels = 3000, 3
    keys = jax.random.split(jax.random.key(0), count)
    rotations = np.asarray(jax.jit(jax.vmap(lambda k: random_rotation(k, channels)))(keys), np.float64)
    np.testing.assert_allclose(rotations.mean(0), 0, atol=5 / math.sqrt(channels * count))
    np.testing.assert_allclose((rotations**2).mean(0), 1 / channels, atol=0.03)


def test_rotation_multiplies_from_the_left():
    """A block that neither couples nor scales is y = R x."""
    params, rotation = one_block(6, identity=True)
    x = np.random.default_rng(0).normal(size=(2, H, W, 6)).astype(np.float32)
    y, log_det = coupling.forward(coupling.block(params, projection(params)), rotation, x, clamp=CLAMP)
    expected = np.einsum("ij,bhwj->bhwi", rotation.astype(np.float64), x.astype(np.float64))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(log_det, 0, atol=1e-5)


def test_global_scale_starts_at_one():
    np.testing.assert_allclose(coupling.log_global_scale(jnp.array(coupling.GAMMA_OF_ONE)), 0, atol=1e-6)
    gamma = np.linspace(-20, 20, 9)
    expected = np.log(0.2 * np.log1p(np.exp(gamma / 2)))
    np.testing.assert_allclose(
        coupling.log_global_scale(jnp.asarray(gamma, jnp.float32)), expected, rtol=2e-6, atol=1e-7
    )


def test_soft_clamp_is_bounded_and_has_the_published_slope():
    raw = np.array([-1e6, -7.0, 0.0, 2.0, 1e6])
    clamped = coupling.soft_clamp(jnp.asarray(raw, jnp.float32), 1.9)
    np.testing.assert_allclose(clamped, 1.9 * np.tanh(0.1 * raw), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(coupling.soft_clamp)(0.0, 1.9), 0.19, rtol=1e-6)


def test_passive_half_of_odd_channels_is_the_larger_and_comes_first():
    params, _ = one_block(5)
    x = np.random.default_rng(0).normal(size=(1, H, W, 5)).astype(np.float32)
    plain = params._replace(gamma=jnp.full(5, coupling.GAMMA_OF_ONE), offset=jnp.zeros(5))
    y, _ = coupling.forward(coupling.block(plain, projection(params)), jnp.eye(5), x, clamp=CLAMP)
    np.testing.assert_allclose(y[..., :3], x[..., :3], atol=1e-5)
    assert np.abs(y[..., 3:] - x[..., 3:]).min() > 1e-4


def test_flow_depends_on_the_position():
    """The same features at two positions have different latents, through the position code alone."""
    bijection = MAPS["flow_even"]()
    z = round_trip(*bijection[:3], jnp.ones((1, H, W, 6)), GROUPS[:1]).z
    assert np.abs(z[:, 0, 0] - z[:, 1, 0]).max() > 1e-2
    assert np.abs(z[:, 0, 0] - z[:, 0, 1]).max() > 1e-2


def test_published_size():
    """4,766,208 trainable parameters a level: 12 blocks, 200 channels, position code of 256."""
    init = functools.partial(flow.init_params, channels=200, num_blocks=12, condition_channels=256)
    shapes = jax.eval_shape(init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 4_766_208
    assert shapes.out_kernel.shape == (12, 712, 200)
    assert all(x.dtype == jnp.float32 for x in shapes)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.5, 6), (1.0, 11), (2.0, 22)])
def test_hidden_width(ratio, hidden):
    init = functools.partial(
        flow.init_params, channels=5, num_blocks=2, condition_channels=8, hidden_ratio=ratio
    )
    params = jax.eval_shape(init, jax.random.key(0))
    assert params.passive_kernel.shape == (2, 3, hidden)
    assert params.condition_kernel.shape == (2, 8, hidden)
    assert params.out_kernel.shape == (2, hidden, 4)


def test_initial_kernels_fill_the_published_range():
    settings = {"channels": 40, "num_blocks": 2, "condition_channels": 44}
    init = jax.jit(functools.partial(flow.init_params, **settings), static_argnames="identity")
    params, identity = (init(jax.random.key(0), identity=i) for i in (False, True))
    for name, fan_in in {
        "passive_kernel": 64,
        "condition_kernel": 64,
        "hidden_bias": 64,
        "out_kernel": 128,
        "out_bias": 128,
    }.items():
        values = np.asarray(getattr(params, name)) * math.sqrt(fan_in)
        assert 0.9 < values.max() <= 1 + 1e-6, name
        assert -1 - 1e-6 <= values.min() < -0.9, name
    assert not np.array_equal(params.passive_kernel[0], params.passive_kernel[1])
    assert not np.any(identity.out_kernel)
    assert not np.any(identity.out_bias)
    np.testing.assert_array_equal(identity.passive_kernel, params.passive_kernel)


@pytest.mark.parametrize("condition_channels", [8, 0])
def test_vectors_out_of_their_maps_have_the_latents_they_have_in_them(condition_channels):
    """In any order; without a condition too, as in U-FLOW."""
    params, rotations = blocks(6)
    if not condition_channels:
        params = params._replace(condition_kernel=None)
    x = np.random.default_rng(1).normal(size=(4, H, W, 6)).astype(np.float32)
    z, log_det = flow.forward(params, rotations, x, clamp=CLAMP)
    rows = np.random.default_rng(2).permutation(4 * H * W)[:11]
    ours = flow.forward_vectors(
        params, rotations, x.reshape(-1, 6)[rows], rows % (H * W), size=(H, W), clamp=CLAMP
    )
    np.testing.assert_allclose(ours[0], z.reshape(-1, 6)[rows], atol=1e-5)
    np.testing.assert_allclose(ours[1], log_det.reshape(-1)[rows], atol=1e-5)

    def of_maps(params):
        z, log_det = flow.forward(params, rotations, x, clamp=CLAMP)
        return jnp.sum(jnp.sin(z)) + log_det.sum()

    def of_vectors(params):
        positions = jnp.tile(jnp.arange(H * W), 4)
        z, log_det = flow.forward_vectors(
            params, rotations, x.reshape(-1, 6), positions, size=(H, W), clamp=CLAMP
        )
        return jnp.sum(jnp.sin(z)) + log_det.sum()

    gradients = [jax.tree.leaves(jax.jit(jax.grad(f))(params)) for f in (of_vectors, of_maps)]
    for a, e in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-4 * np.abs(e).max())
