"""The greedy coreset against the algorithm written out, and what it has to be whatever the vectors."""

import jax
import numpy as np
import pytest

from hgad_jax.distributions.coreset import coreset


def vectors(number=200, channels=12, seed=0):
    return np.random.default_rng(seed).normal(size=(number, channels)).astype(np.float32)


def chosen(x, *, count, dimensions=0, valid=None, seed=0):
    valid = np.ones(len(x), bool) if valid is None else valid
    return np.asarray(coreset(jax.random.key(seed), x, valid, count=count, dimensions=dimensions))


def test_each_is_the_farthest_from_those_before():
    x = vectors()
    found = chosen(x, count=30)
    distances = np.linalg.norm(x[:, None].astype(np.float64) - x[None], axis=-1)
    for i in range(1, 30):
        nearest = distances[:, found[:i]].min(1)
        assert nearest[found[i]] == pytest.approx(nearest.max(), rel=1e-5)


def test_so_it_is_where_many_shortlists_are_needed():
    """More vectors than a shortlist has, and more of them chosen than one gives; those not valid are many."""
    x = vectors(9000, 4)
    valid = np.arange(9000) % 3 < 2
    found = chosen(x, count=600, valid=valid)
    x, nearest = x.astype(np.float64), np.full(9000, np.inf)
    assert valid[found].all()
    for i in range(1, 600):
        nearest = np.minimum(nearest, np.linalg.norm(x - x[found[i - 1]], axis=-1))
        assert nearest[found[i]] == pytest.approx(nearest[valid].max(), rel=1e-4)


def test_only_valid_vectors_are_chosen_and_all_of_them_if_there_are_no_more():
    x, valid = vectors(), np.arange(200) < 20
    x[~valid] = 100  # the farthest of all
    assert set(chosen(x, count=20, valid=valid)) == set(range(20))
    assert set(chosen(x, count=25, valid=valid)) == set(range(20))


def test_vectors_that_are_all_alike():
    assert set(chosen(np.ones((10, 3), np.float32), count=4)) <= set(range(10))


def test_a_projection_keeps_the_vectors_covered():
    """The farthest that a vector is from the coreset is little more than without a projection."""
    far = np.random.default_rng(1).exponential(size=(2000, 1)).astype(np.float32)
    x = vectors(2000, 112) * far

    def radius(found):
        return np.linalg.norm(x[:, None] - x[found][None], axis=-1).min(1).max()

    exact, projected = (radius(chosen(x, count=100, dimensions=d)) for d in (0, 64))
    drawn = radius(np.random.default_rng(0).permutation(2000)[:100])
    assert projected < 1.15 * exact < drawn


def test_the_seed_decides():
    x = vectors(500, 80)
    first, again, other = (chosen(x, count=50, dimensions=16, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
