"""PaDiM and SPADE against NumPy and scikit-learn; neither depends on how the pass is cut into batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from hgad_jax.detectors.padim import concatenated, padim
from hgad_jax.detectors.spade import spade
from hgad_jax.errors import UserError
from hgad_jax.scoring import published

SIZES, N, K = ((4, 4, 5), (2, 2, 6)), 30, 2
LABELS = (np.arange(N) % K).astype(np.int32)


def draw(seed, count=N, labels=LABELS):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(20, 20))
    shift = 3.0 * labels[:count, None, None, None]
    return tuple(
        (rng.normal(size=(count, *s)) @ mixing[: s[-1], : s[-1]] + shift).astype(np.float32) for s in SIZES
    )


def batches(features, labels=LABELS, parts=3):
    def level(x):
        return lambda: zip(np.array_split(x, parts), np.array_split(labels, parts), strict=True)

    return [level(x) for x in features]


def enlarged(features):
    """Levels side by side, by NumPy: each coarse position covers a 2×2 block."""
    fine, coarse = (np.asarray(x, np.float64) for x in features)
    return np.concatenate([fine, coarse.repeat(2, 1).repeat(2, 2)], -1)


# PaDiM


def fitted_padim(dimensions, regularization=0.01, parts=3):
    detector = padim(num_classes=K, dimensions=dimensions, regularization=regularization)
    return detector, *detector.init(jax.random.key(0), batches(draw(0), parts=parts))


def test_padim_is_the_mahalanobis_distance_of_numpy():
    detector, params, constants = fitted_padim(dimensions=7)
    channels = np.asarray(constants.channels)
    assert len(np.unique(channels)) == 7
    train, test = enlarged(draw(0))[..., channels], draw(1, 6)
    evidence = jax.jit(detector.evidence)(params, constants, test, jnp.asarray(LABELS[:6]))
    x = enlarged(test)[..., channels]
    for i in range(6):
        own = train[LABELS[i] == LABELS]
        for y, z in np.ndindex(4, 4):
            covariance = np.cov(own[:, y, z], rowvar=False, ddof=1) + 0.01 * np.eye(7)
            centred = x[i, y, z] - own[:, y, z].mean(0)
            expected = -centred @ np.linalg.solve(covariance, centred) / 14
            np.testing.assert_allclose(evidence.log_likelihood[0][i, y, z], expected, rtol=2e-4)


def test_padim_without_regularisation_is_scikit_learns():
    """Which divides the covariance by N and not by N − 1."""
    detector, params, constants = fitted_padim(dimensions=3, regularization=1e-9)
    train, test = draw(0), draw(1, 4)
    evidence = jax.jit(detector.evidence)(params, constants, test, jnp.zeros(4, jnp.int32))
    channels = np.asarray(constants.channels)
    own = enlarged(train)[LABELS == 0][:, 2, 1][:, channels]
    oracle = EmpiricalCovariance().fit(own).mahalanobis(enlarged(test)[:, 2, 1][:, channels])
    scaled = oracle * (len(own) - 1) / len(own)
    np.testing.assert_allclose(-6 * evidence.log_likelihood[0][:, 2, 1], scaled, rtol=1e-3)


def test_padim_does_not_depend_on_the_batches_of_its_pass():
    (_, _, one), (_, _, many) = (fitted_padim(7, parts=parts) for parts in (1, 8))
    np.testing.assert_allclose(one.mean, many.mean, rtol=1e-6)
    np.testing.assert_allclose(one.whitener, many.whitener, rtol=1e-4, atol=1e-5)


def test_padims_published_map_is_the_distance():
    levels = [-np.random.default_rng(0).uniform(0.1, 2, (2, 4, 4)).astype(np.float32)]
    ours = published.mahalanobis(levels, [], 64)
    assert ours.shape == (2, 64, 64)
    flat = published.mahalanobis([np.full((1, 4, 4), -2.0, np.float32)], [], 16)
    np.testing.assert_allclose(flat, np.sqrt(2.0), rtol=1e-5)  # M/√(2d)


def test_levels_are_enlarged_to_the_nearest():
    features = draw(0)
    np.testing.assert_array_equal(np.asarray(concatenated(features), np.float64), enlarged(features))


def test_padim_with_one_image_of_a_class():
    x, labels = draw(0), np.r_[np.zeros(N - 1, np.int32), 1]
    with pytest.raises(UserError, match="two training images of each class for a covariance, found 1"):
        padim(num_classes=K, dimensions=3, regularization=0.01).init(
            jax.random.key(0), batches(x, labels.astype(np.int32))
        )


# SPADE


def fitted_spade(neighbours=4, pixel_neighbours=1, gallery=40):
    detector = spade(num_classes=K, gallery=gallery, neighbours=neighbours, pixel_neighbours=pixel_neighbours)
    return detector, *detector.init(jax.random.key(0), batches(draw(0)))


@pytest.mark.parametrize("pixel_neighbours", [1, 3])
def test_spade_is_scikit_learns_nearest_neighbours(pixel_neighbours):
    detector, params, constants = fitted_spade(4, pixel_neighbours)
    test = draw(1, 6)
    evidence = jax.jit(detector.evidence)(params, constants, test, jnp.asarray(LABELS[:6]))
    train = draw(0)
    pooled, queries = (x[-1].mean((1, 2)) for x in (train, test))
    for i in range(6):
        own = np.flatnonzero(LABELS[i] == LABELS)
        distances, nearest = NearestNeighbors(n_neighbors=4).fit(pooled[own]).kneighbors(queries[i : i + 1])
        np.testing.assert_allclose(-evidence.class_log_prob[i, LABELS[i]], distances.mean(), rtol=1e-4)
        rows = enlarged(train)[own[nearest[0]]].reshape(-1, 11)
        pixels = NearestNeighbors(n_neighbors=pixel_neighbours).fit(rows)
        expected = pixels.kneighbors(enlarged(test)[i].reshape(-1, 11))[0].mean(1).reshape(4, 4)
        np.testing.assert_allclose(-evidence.log_likelihood[0][i], expected, rtol=1e-3)


def test_spade_finds_the_class_and_its_image_score_is_that_distance():
    detector, params, constants = fitted_spade()
    evidence = jax.jit(detector.evidence)(params, constants, draw(1, 8))
    np.testing.assert_array_equal(evidence.class_ids, LABELS[:8])
    own = np.asarray(evidence.class_log_prob)[np.arange(8), LABELS[:8]]
    np.testing.assert_array_equal(detector.published.image(np.zeros((8, 2, 2)), own), -own)


def test_spade_with_fewer_images_than_neighbours_takes_those_it_has():
    a = fitted_spade(neighbours=100)
    b = fitted_spade(neighbours=N // K)
    x = draw(1, 4)
    first, second = (
        jax.jit(d.evidence)(p, c, x, jnp.asarray(LABELS[:4])).log_likelihood[0] for d, p, c in (a, b)
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_a_gallery_that_is_too_small_is_a_random_choice():
    _, _, constants = fitted_spade(gallery=10)
    assert constants.levels[0].shape == (10, 4, 4, 5)
    train = draw(0)[0]
    index = [int(np.flatnonzero((train == g).all((1, 2, 3)))[0]) for g in np.asarray(constants.levels[0])]
    assert len(set(index)) == 10
    np.testing.assert_array_equal(constants.class_ids, LABELS[index])
    assert index != list(range(10))
    with pytest.raises(UserError, match=r"config\.detector\.gallery is 1, too few for 30 images of 2"):
        fitted_spade(gallery=1)


@pytest.mark.parametrize("make", [fitted_spade, lambda: fitted_padim(7)], ids=["spade", "padim"])
def test_abstract_shapes_and_no_gradient(make):
    detector, params, constants = make()
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), detector.abstract(SIZES))
    assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), (params, constants))
    assert float(detector.loss(params, constants, draw(0), LABELS, {})[0]) == 0
