"""Calibration against float64 NumPy; an image's score does not depend on its company."""

import jax
import numpy as np
import pytest

from hgad_jax.scoring.calibration import abstract_calibration, anomaly_map, fit_calibration, standardize

SIZES = ((4, 5, 7), (2, 3, 9))
CLASSES = 3


def good_images(count=24, seed=0):
    """Log-likelihoods whose mean and deviation differ by level, class and position; and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    maps = []
    for h, w, _ in SIZES:
        mean = rng.normal(size=(CLASSES, h, w)) * 3 - 5
        deviation = rng.uniform(0.1, 2, (CLASSES, h, w))
        maps.append((mean[labels] + deviation[labels] * rng.normal(size=(count, h, w))).astype(np.float32))
    return maps, labels


MAPS, LABELS = good_images()
CALIBRATION = fit_calibration(MAPS, LABELS, CLASSES)
BY = pytest.mark.parametrize("by", ["position", "level"])


def moments(level, k):
    """The constants of one level and class, pixel by pixel: prior weight of ten images."""
    images = [np.float64(image) for image, label in zip(MAPS[level], LABELS, strict=True) if label == k]
    mean = sum(images) / len(images)
    variance = sum((image - mean) ** 2 for image in images) / len(images)
    n = len(images)
    pooled = (n * variance + 10 * np.mean(variance)) / (n + 10)
    everything = np.concatenate([image.ravel() for image in images])
    return mean, np.sqrt(pooled), everything.mean(), np.sqrt(np.mean((everything - everything.mean()) ** 2))


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("k", range(CLASSES))
def test_fit_equals_float64(level, k):
    for found, expected in zip(CALIBRATION, moments(level, k), strict=True):
        np.testing.assert_allclose(found[level][k], expected, rtol=2e-6)


@BY
def test_standardize_counts_deviations_below_the_mean(by):
    found = standardize(CALIBRATION, MAPS, LABELS, by)
    for level in range(len(SIZES)):
        for i, k in enumerate(LABELS):
            mean, deviation, level_mean, level_deviation = moments(level, k)
            if by == "level":
                mean, deviation = level_mean, level_deviation
            np.testing.assert_allclose(found[level][i], (mean - MAPS[level][i]) / deviation, atol=2e-5)


def test_good_images_have_mean_zero_and_deviation_one_by_level():
    for maps in standardize(CALIBRATION, MAPS, LABELS, "level"):
        for k in range(CLASSES):
            assert np.mean(maps[k == LABELS]) == pytest.approx(0, abs=1e-5)
            assert np.std(maps[k == LABELS]) == pytest.approx(1, abs=1e-5)


@BY
@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_an_image_scores_alone_as_in_a_batch(by, sigma):
    def score(chosen):
        maps = [level[chosen] for level in MAPS]
        return anomaly_map(CALIBRATION, maps, LABELS[chosen], by=by, size=12, sigma=sigma)

    together = score(np.arange(len(LABELS)))
    assert together.shape == (len(LABELS), 12, 12)
    for i in (0, 5, 23):
        np.testing.assert_allclose(score(np.array([i]))[0], together[i], atol=1e-5)
        np.testing.assert_allclose(score(np.array([3, i, 7]))[1], together[i], atol=1e-5)


@BY
def test_the_less_likely_the_more_anomalous(by):
    worse = [level.copy() for level in MAPS]
    worse[1][0, 1, 1] -= 8
    before, after = (
        anomaly_map(CALIBRATION, maps, LABELS, by=by, size=12, sigma=0.0) for maps in (MAPS, worse)
    )
    change = after - before
    assert np.max(change[0]) > 1
    assert np.min(change) >= 0
    assert np.max(change[1:]) == 0


def test_shapes_to_restore_into_are_those_of_a_fit():
    expected = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), CALIBRATION)
    assert abstract_calibration(SIZES, CLASSES) == expected


@BY
def test_maps_that_never_vary_give_finite_scores(by):
    """Held-out images that are copies in other files: no deviation at all."""
    constant = [np.full((6, *size[:2]), -3.0, np.float32) for size in SIZES]
    labels = np.zeros(6, int)
    calibration = fit_calibration(constant, labels, 1)

    def score(maps):
        return anomaly_map(calibration, maps, labels[: len(maps[0])], by=by, size=12, sigma=1.0)

    np.testing.assert_allclose(score(constant), 0, atol=1e-5)
    odd = [level.copy() for level in constant]
    odd[0][0, 1, 1] -= 1000
    odd[1][0] -= 1000
    assert np.isfinite(score(odd)).all()
    assert np.max(score(odd)[0]) > np.max(score(odd)[1])
