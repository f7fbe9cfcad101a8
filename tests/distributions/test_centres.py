"""The bank of centres against SciPy in float64, and its fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from hgad_jax.distributions.centres import NOTHING, CentresParams, centres
from hgad_jax.distributions.sample import samples

KERNELS = ("gaussian", "nearest")


def bank(kernel="gaussian", *, size=40, classes=2, candidates=400, projection=0):
    return centres(
        num_classes=classes,
        bank_size=size,
        bank_candidates=candidates,
        bank_projection=projection,
        bank_kernel=kernel,
    )


def oracle(params, x, k, kernel):
    """log p of vectors `[N, C]` in float64."""
    points, log_weight = (
        np.asarray(params.centres[k], np.float64),
        np.asarray(params.log_weight[k], np.float64),
    )
    variance, channels = np.exp(np.float64(params.log_variance[k])), x.shape[-1]
    squares = ((x[:, None].astype(np.float64) - points[None]) ** 2).sum(-1)
    logits = log_weight - squares / (2 * variance) - channels / 2 * np.log(2 * np.pi * variance)
    return logits.max(-1) if kernel == "nearest" else logsumexp(logits, axis=-1)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [1, 40, 512, 700])  # below, at and above a block
def test_log_prob_is_that_of_the_mixture(kernel, size):
    rng = np.random.default_rng(size)
    number = np.array([size, max(1, size // 2)])
    weight = np.where(np.arange(size) < number[:, None], -np.log(number)[:, None], NOTHING)
    params = CentresParams(
        *(jnp.asarray(v, jnp.float32) for v in (rng.normal(3, 1, (2, size, 6)), weight, [0.3, -1.0]))
    )
    z = rng.normal(3, 1.5, (3, 4, 5, 6)).astype(np.float32)
    log_det, ids = rng.normal(size=(3, 4, 5)).astype(np.float32), np.array([1, 0, 1], np.int32)
    found = bank(kernel, size=size).log_prob(params, z, log_det, ids)
    for i, k in enumerate(ids):
        expected = oracle(params, z[i].reshape(-1, 6), k, kernel).reshape(4, 5) + log_det[i]
        np.testing.assert_allclose(found[i], expected, rtol=2e-5, atol=2e-5)


def fitted(base, maps, labels, seed=0, part=3):
    def batches():
        for start in range(0, len(maps), part):
            yield maps[start : start + part], labels[start : start + part]

    return base.fit(jax.random.key(seed), batches, np.bincount(labels))


@pytest.mark.parametrize("kernel", KERNELS)
def test_fit_keeps_vectors_of_the_class_and_the_likeliest_variance(kernel):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 15).astype(np.int32)
    maps = (rng.normal(size=(30, 4, 4, 6)) + 10 * labels[:, None, None, None]).astype(np.float32)
    base = bank(kernel, size=20, candidates=100)
    params = fitted(base, maps, labels)
    for k in range(2):
        own = maps[labels == k].reshape(-1, 6)
        assert all((own == centre).all(-1).any() for centre in np.asarray(params.centres[k]))
        assert len(np.unique(params.centres[k], axis=0)) == 20
    _, sample = next(samples(jax.random.key(0), lambda: [(maps, labels)], np.array([15, 15]),
                             candidates=100, apart=2048))  # fmt: skip
    apart = sample.apart

    def loss(log_variance):
        moved = params._replace(log_variance=[log_variance, 0.0])
        return -oracle(moved, apart, 0, kernel).mean()

    best = minimize_scalar(loss, bounds=(-5, 5), method="bounded")
    assert loss(float(params.log_variance[0])) < best.fun + 1e-3


def test_fit_is_the_same_in_batches_of_any_size_and_for_a_seed():
    labels = np.array([0, 1] * 12, np.int32)
    maps = np.random.default_rng(1).normal(size=(24, 3, 3, 5)).astype(np.float32)
    base = bank(projection=3)
    first = fitted(base, maps, labels)
    for again in (fitted(base, maps, labels, part=7), fitted(base, maps, labels)):
        jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.centres, fitted(base, maps, labels, seed=1).centres)


def test_a_class_with_fewer_vectors_than_centres():
    labels = np.array([0, 0, 1], np.int32)
    maps = np.random.default_rng(2).normal(size=(3, 2, 2, 5)).astype(np.float32)
    params = fitted(bank(size=40), maps, labels)
    # Of two images one is apart; a single one is both.
    np.testing.assert_array_equal((params.log_weight > NOTHING).sum(1), [4, 4])
    found = bank(size=40).log_prob(params, maps, np.zeros((3, 2, 2)), labels)
    assert np.isfinite(found).all()


def test_images_that_are_all_alike():
    labels = np.zeros(12, np.int32)
    maps = np.full((12, 3, 3, 5), 0.7, np.float32)
    base = bank(classes=1)
    params = fitted(base, maps, labels)
    other = np.concatenate([maps[:1], maps[:1] + 0.1])
    found = np.asarray(base.log_prob(params, other, np.zeros((2, 3, 3)), labels[:2]))
    assert np.isfinite(found).all()
    assert found[0].min() > found[1].max()


def test_samples_are_bounded_and_cover_all_images():
    rng = np.random.default_rng(0)
    counts = np.array([50, 7, 1])
    labels = rng.permutation(np.repeat(np.arange(3), counts)).astype(np.int32)
    maps = np.broadcast_to(np.arange(58.0)[:, None, None, None], (58, 4, 4, 2)).astype(np.float32)
    found = dict(samples(jax.random.key(0), lambda: [(maps, labels)], counts, candidates=90, apart=30))
    for k, sample in found.items():
        assert len(sample.apart) <= 30
        used, apart = set(sample.vectors[:, 0]), set(sample.apart[:, 0])
        images = set(np.flatnonzero(labels == k))
        assert used | apart == images  # of each image at least one vector
        assert (used.isdisjoint(apart)) == (counts[k] > 1)
        most = counts[k] * 16 - len(apart) * 16 if counts[k] > 1 else 16
        assert len(sample.vectors) == min(90, most)
