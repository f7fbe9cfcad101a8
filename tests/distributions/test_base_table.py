"""What every row of `BASES` has to be, whatever its keys. A new base distribution gets a line in `CASES`."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hgad_jax.distributions import BASES, Base
from hgad_jax.flows import Grid
from hgad_jax.flows.grid import take

H, W, C, CLASSES = 3, 2, 2, 2
CASES = {
    "standard": {},
    "trainable": {},
    "hierarchical": {
        "num_classes": CLASSES,
        "num_centres": 3,
        "centre_distance": 2.0,
        "delta_scale": 0.5,
        "label_smoothing": 0.02,
    },
    "centres": {
        "num_classes": CLASSES,
        "bank_size": 3,
        "bank_candidates": 8,
        "bank_projection": 0,
        "bank_kernel": "gaussian",
    },
}
IDS = np.array([1, 0, 0, 1], np.int32)


class Drawn(NamedTuple):
    """A distribution with parameters away from where they start, and latents."""

    base: Base
    params: Any
    z: np.ndarray  # [4, H, W, C]
    log_det: np.ndarray  # [4, H, W]


@functools.cache
def drawn(case):
    base, rng = BASES[case](**CASES[case]), np.random.default_rng(0)
    params = start(base, jax.random.key(0))
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    z, log_det = (rng.normal(size=(4, H, W, *s)).astype(np.float32) for s in ((C,), ()))
    return Drawn(base, params, z, log_det)


def start(base, key):
    centres = base.classes and base.classes.centres(C)
    return base.init(key if base.drawn else None, (H, W, C), centres)


@functools.cache
def log_prob(base):
    return jax.jit(base.log_prob)


@pytest.fixture(scope="module", params=CASES)
def row(request):
    return drawn(request.param)


def test_every_row_has_a_case():
    assert set(CASES) == set(BASES)


def test_parameters_are_float32_and_not_weakly_typed(row):
    for leaf in jax.tree.leaves(start(row.base, jax.random.key(0))):
        assert leaf.dtype == np.float32
        assert not leaf.weak_type
    assert row.base.drawn == any(
        not np.array_equal(a, b)
        for a, b in zip(
            *(jax.tree.leaves(start(row.base, jax.random.key(seed))) for seed in (0, 1)), strict=True
        )
    )


@pytest.mark.parametrize("position", [(0, 0), (2, 1)])
def test_the_density_of_a_position_integrates_to_one(row, position):
    """By the midpoint rule over the plane, with the constant that `log_prob` leaves out."""
    side = np.arange(-12, 12, 0.1)
    grid = Grid(*(np.array([line]) for line in position))
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 1, 1, C).astype(np.float32)
    ids = np.full(len(points), 1, np.int32)
    params = row.base.at_grid(row.params, grid)
    nats = log_prob(row.base)(params, points, np.zeros((len(points), 1, 1), np.float32), ids)
    mass = np.exp(np.float64(nats) - C * row.base.constant).sum() * 0.1**2
    assert mass == pytest.approx(1, abs=1e-4)


def test_the_log_det_is_added(row):
    without = log_prob(row.base)(row.params, row.z, 0 * row.log_det, IDS)
    np.testing.assert_allclose(
        log_prob(row.base)(row.params, row.z, row.log_det, IDS), without + row.log_det, atol=1e-5
    )


def test_jit_equals_eager_and_a_batch_of_one_that_of_four(row):
    whole = log_prob(row.base)(row.params, row.z, row.log_det, IDS)
    assert whole.shape == row.z.shape[:-1]
    np.testing.assert_allclose(row.base.log_prob(row.params, row.z, row.log_det, IDS), whole, atol=1e-5)
    for i in range(4):
        part = slice(i, i + 1)
        alone = log_prob(row.base)(row.params, row.z[part], row.log_det[part], IDS[part])
        np.testing.assert_allclose(alone[0], whole[i], atol=1e-5)


def test_positions_and_vectors_have_the_density_that_they_have_in_their_maps(row):
    whole = np.asarray(log_prob(row.base)(row.params, row.z, row.log_det, IDS))
    grid = Grid(np.array([0, 2]), np.array([1]))
    sampled = row.base.at_grid(row.params, grid)
    part = log_prob(row.base)(sampled, take(row.z, grid, 1), take(row.log_det, grid, 1), IDS)
    np.testing.assert_allclose(part, take(whole, grid, 1), atol=1e-5)
    rows = np.random.default_rng(0).permutation(4 * H * W)[:7]
    vectors = row.base.of_vectors(row.params, rows % (H * W))
    found = row.base.log_prob(
        vectors, row.z.reshape(-1, C)[rows], row.log_det.reshape(-1)[rows], IDS[rows // (H * W)]
    )
    np.testing.assert_allclose(found, whole.reshape(-1)[rows], atol=1e-5)


@pytest.mark.parametrize("vectors", [False, True])
def test_the_loss_is_linear_in_its_weights_and_its_terms_are_those_named(row, vectors):
    """A term without a weight is not part of it. The same of maps and of the vectors taken out of them."""
    arguments = (row.params, row.z, row.log_det, IDS)
    if vectors:
        positions = np.tile(np.arange(H * W), 4)
        params = row.base.of_vectors(row.params, positions)
        arguments = (params, row.z.reshape(-1, C), row.log_det.ravel(), IDS.repeat(H * W))
    rng = np.random.default_rng(0)
    weights = {name: rng.uniform(0.5, 2) for name in row.base.terms}
    total, terms = row.base.loss(*arguments, weights)
    assert tuple(terms) == row.base.terms
    assert set(row.base.stage_two) <= set(row.base.terms)
    parts = [row.base.loss(*arguments, {name: weight})[0] for name, weight in weights.items()]
    np.testing.assert_allclose(sum(parts), total, rtol=1e-5)
    for name, part in zip(weights, parts, strict=True):
        np.testing.assert_allclose(abs(part), weights[name] * abs(terms[name]), rtol=1e-5)
    whole = row.base.loss(row.params, row.z, row.log_det, IDS, weights)[0]
    np.testing.assert_allclose(total, whole, rtol=1e-5)


def test_the_loss_is_a_mean_over_images(row):
    weights = dict.fromkeys(row.base.terms, 1.0)

    def loss(part):
        return row.base.loss(row.params, row.z[part], row.log_det[part], IDS[part], weights)[0]

    np.testing.assert_allclose(loss(slice(4)), (loss(slice(2)) + loss(slice(2, 4))) / 2, rtol=1e-5)


def test_gradients_reach_every_parameter_and_the_latents(row):
    weights = dict.fromkeys(row.base.terms, 1.0)

    def loss(params, z):
        return row.base.loss(params, z, row.log_det, IDS, weights)[0]

    for gradient in jax.tree.leaves(jax.grad(loss, (0, 1))(row.params, row.z)):
        assert np.isfinite(gradient).all()
        assert np.any(gradient)


def test_classes_agree_with_the_log_prob_of_each(row):
    classes = row.base.classes
    if classes is None:
        other = log_prob(row.base)(row.params, row.z, row.log_det, 1 - IDS)
        if row.base.fit is not None:  # fitted to each class that it is told, with nothing to say of them
            assert not np.any(other == log_prob(row.base)(row.params, row.z, row.log_det, IDS))
            return
        np.testing.assert_array_equal(other, log_prob(row.base)(row.params, row.z, row.log_det, IDS))
        return
    every = classes.log_prob(row.params, row.z, row.log_det)
    assert every.shape == (*row.z.shape[:-1], classes.number)
    for k in range(classes.number):
        own = log_prob(row.base)(row.params, row.z, row.log_det, np.full(4, k, np.int32))
        np.testing.assert_allclose(every[..., k], own, atol=1e-5)
    np.testing.assert_allclose(jnp.exp(classes.log_prior(row.params)).sum(), 1, rtol=1e-5)
    entropy = classes.negative_entropy(row.params, row.z)
    assert entropy.shape == row.z.shape[:-1]
    assert np.all(entropy <= 0)
    assert np.all(entropy >= -np.log(classes.number) - 1e-5)


def test_standardized_latents_have_the_density_of_the_standard_normal(row):
    """But for the volume that standardising changes."""
    if row.base.standardized is None:
        assert row.base.classes is not None or row.base.fit is not None
        return
    standardized = jax.jit(row.base.standardized)(row.params, row.z)
    jacobian = jax.vmap(jax.jacrev(lambda z: row.base.standardized(row.params, z[None])[0].ravel()))(row.z)
    expected = -0.5 * np.sum(np.float64(standardized) ** 2, (1, 2, 3))
    expected += np.linalg.slogdet(np.float64(jacobian).reshape(4, H * W * C, H * W * C))[1]
    nats = log_prob(row.base)(row.params, row.z, 0 * row.log_det, IDS)
    np.testing.assert_allclose(nats.sum((1, 2)), expected, rtol=1e-5)
