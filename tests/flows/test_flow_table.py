"""What every row of `FLOWS` has to be, whatever its keys. A new flow gets a line in `CASES`."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from hgad_jax.flows import FLOWS, Flow, Grid
from hgad_jax.flows.grid import take

H, W = 3, 2
COUPLINGS = {"num_blocks": 2, "hidden_ratio": 1.0, "clamp": 1.9, "identity_init": False}
CONVOLUTION = COUPLINGS | {"kernel_sizes": (3, 1)}
CASES = {
    "dense": ("dense", COUPLINGS | {"condition_channels": 4}),
    "dense, not told the position": ("dense", COUPLINGS | {"condition_channels": 0}),
    "dense, from the identity": ("dense", COUPLINGS | {"condition_channels": 4, "identity_init": True}),
    "convolution": ("convolution", CONVOLUTION),
    "convolution, from the identity": ("convolution", CONVOLUTION | {"identity_init": True}),
    "convolution of a layer norm": ("convolution", CONVOLUTION | {"norm": "trainable"}),
    "none": ("none", {}),
}
ROWS = [(case, 6) for case in CASES] + [(case, 5) for case in ("dense", "convolution", "none")]


class Drawn(NamedTuple):
    """A flow with parameters away from where they start, a batch, and what becomes of it."""

    flow: Flow
    size: tuple[int, int, int]
    initial: Any
    params: Any
    fixed: Any
    x: np.ndarray
    z: jax.Array
    log_det: jax.Array


@functools.cache
def forward(flow):
    return jax.jit(flow.forward)


def start(flow, size, seed):
    keys = jax.random.split(jax.random.key(seed))
    init, draw = (jax.jit(f, static_argnums=1) for f in (flow.init, flow.draw))
    return init(keys[0], size), draw(keys[1], size)


@functools.cache
def drawn(case, channels):
    flow, size, rng = made(case), (H, W, channels), np.random.default_rng(channels)
    initial, fixed = start(flow, size, 0)
    params = jax.tree.map(lambda p: p + 0.2 * rng.normal(size=p.shape).astype(np.float32), initial)
    x = rng.normal(size=(4, *size)).astype(np.float32)
    return Drawn(flow, size, initial, params, fixed, x, *forward(flow)(params, fixed, x))


@functools.cache
def made(case):
    name, keys = CASES[case]
    return FLOWS[name](**keys)


@pytest.fixture(scope="module", params=ROWS, ids=str)
def row(request):
    return drawn(*request.param)


@pytest.fixture(scope="module", params=[r for r in ROWS if made(r[0]).inverse], ids=str)
def invertible(request):
    return drawn(*request.param)


@pytest.fixture(scope="module", params=[r for r in ROWS if made(r[0]).at], ids=str)
def local(request):
    """Its positions do not depend on each other."""
    return drawn(*request.param)


def test_every_row_has_a_case():
    assert {name for name, _ in CASES.values()} == set(FLOWS)


def test_shapes_and_dtypes(row):
    assert row.z.shape == row.x.shape
    assert row.log_det.shape == row.x.shape[:-1]
    leaves = jax.tree.leaves((row.initial, row.fixed))
    assert jax.tree.leaves(row.initial), "a checkpoint cannot hold nothing"
    assert {leaf.dtype for leaf in leaves} <= {np.dtype(np.float32), np.dtype(np.int32)}
    assert not any(leaf.weak_type for leaf in leaves), "a step would change its type, and compile anew"


def test_only_a_layer_norm_has_no_inverse():
    assert [case for case in CASES if made(case).inverse is None] == ["convolution of a layer norm"]


def test_inverse_undoes_forward_and_its_log_det(invertible):
    row = invertible
    back, log_det = jax.jit(row.flow.inverse)(row.params, row.fixed, row.z)
    np.testing.assert_allclose(back, row.x, atol=2e-5)
    np.testing.assert_allclose(log_det.sum((1, 2)), -row.log_det.sum((1, 2)), atol=2e-5)


def test_log_det_is_that_of_the_jacobian(invertible):
    """Of the whole map: positions may depend on each other."""
    row = invertible
    z_of = jax.jit(jax.jacrev(lambda x: row.flow.forward(row.params, row.fixed, x[None])[0][0].ravel()))
    for x, log_det in zip(row.x[:2], row.log_det[:2], strict=True):
        jacobian = np.asarray(z_of(x), np.float64).reshape(x.size, x.size)
        np.testing.assert_allclose(log_det.sum(), np.linalg.slogdet(jacobian)[1], atol=2e-5)


def test_jit_equals_eager(row):
    for a, b in zip(row.flow.forward(row.params, row.fixed, row.x), (row.z, row.log_det), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_batch_of_one_equals_batch_of_four(row):
    for i in range(4):
        z, log_det = forward(row.flow)(row.params, row.fixed, row.x[i : i + 1])
        np.testing.assert_allclose(z[0], row.z[i], atol=2e-5)
        np.testing.assert_allclose(log_det[0], row.log_det[i], atol=2e-5)


def test_a_flow_made_ready_for_a_place_is_the_same_flow(local):
    row = local
    ready = row.flow.at(row.params, (H, W))
    for a, b in zip(row.flow.forward(ready, row.fixed, row.x), (row.z, row.log_det), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    grid = Grid(np.array([0, 2]), np.array([1]))
    part = row.flow.forward(row.flow.at(row.params, grid), row.fixed, take(row.x, grid, 1))
    for a, b in zip(part, (row.z, row.log_det), strict=True):
        np.testing.assert_allclose(a, take(np.asarray(b), grid, 1), atol=2e-5)


def test_vectors_have_the_latents_that_they_have_in_their_maps(local):
    row = local
    rows = np.random.default_rng(0).permutation(4 * H * W)[:7]
    vectors = row.x.reshape(-1, row.x.shape[-1])[rows]
    z, log_det = row.flow.forward_vectors(row.params, row.fixed, vectors, rows % (H * W), (H, W))
    np.testing.assert_allclose(z, row.z.reshape(-1, row.z.shape[-1])[rows], atol=2e-5)
    np.testing.assert_allclose(log_det, row.log_det.reshape(-1)[rows], atol=2e-5)


def test_what_takes_whole_maps_looks_at_neighbours_and_nothing_else_does(row):
    """So that `at` and `forward_vectors` are left out where they would be wrong, and only there."""
    moved = row.x.copy()
    moved[:, 0, 0] += 1
    elsewhere = np.ones((H, W), bool)
    elsewhere[0, 0] = False
    z = forward(row.flow)(row.params, row.fixed, moved)[0]
    same = np.allclose(z[:, elsewhere], row.z[:, elsewhere], atol=1e-5)
    assert same == (row.flow.at is not None) == (row.flow.forward_vectors is not None)


@pytest.mark.parametrize("case", [case for case in CASES if "identity" in case or case == "none"])
def test_points_are_carried_to_where_the_untrained_flow_takes_them(case):
    row = drawn(case, 6)
    points = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    maps = np.broadcast_to(points[:, None, None], (3, H, W, 6))
    z, _ = forward(row.flow)(row.initial, row.fixed, maps)
    carried = np.broadcast_to(row.flow.carry(row.fixed, points)[:, None, None], z.shape)
    np.testing.assert_allclose(z, carried, atol=1e-5)


def test_another_key_is_another_flow(row):
    """In whatever is random: kernels and biases, rotations and permutations."""
    own, other = (jax.tree.leaves(start(row.flow, row.size, seed)) for seed in (0, 1))
    random = [(a, b) for a, b in zip(own, other, strict=True) if np.unique(a).size > 1]
    assert not any(np.array_equal(a, b) for a, b in random)
