"""Normalisation constants against float64 NumPy, and left-out ones against fits without the image."""

import jax
import numpy as np
import pytest

from hgad_jax.scoring.constants import (
    LEAST_DEVIATION,
    abstract_constants,
    fit_constants,
    fit_image_constants,
    leave_one_out,
    leave_one_score_out,
    of_classes,
)

SIZES = ((4, 5, 7), (2, 3, 9))
CLASSES = 3


def good_images(count=24, seed=0):
    """Values whose mean and deviation differ by level, class and position; and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    maps = []
    for h, w, _ in SIZES:
        mean = rng.normal(size=(CLASSES, h, w)) * 3 - 5
        deviation = rng.uniform(0.1, 2, (CLASSES, h, w))
        maps.append((mean[labels] + deviation[labels] * rng.normal(size=(count, h, w))).astype(np.float32))
    return maps, labels


MAPS, LABELS = good_images()
ENTROPY, _ = good_images(seed=1)
CONSTANTS = fit_constants(MAPS, ENTROPY, LABELS, CLASSES)


def moments(maps, k):
    """The constants of one level and class, pixel by pixel: prior weight of ten images."""
    images = [np.float64(image) for image, label in zip(maps, LABELS, strict=True) if label == k]
    mean = sum(images) / len(images)
    variance = sum((image - mean) ** 2 for image in images) / len(images)
    n = len(images)
    pooled = (n * variance + 10 * np.mean(variance)) / (n + 10)
    everything = np.concatenate([image.ravel() for image in images])
    level = everything.mean(), np.sqrt(np.mean((everything - everything.mean()) ** 2)), everything.max()
    return mean, np.sqrt(pooled), *level


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("k", range(CLASSES))
@pytest.mark.parametrize("term", [0, 1])
def test_fit_equals_float64(term, level, k):
    expected = moments((MAPS, ENTROPY)[term][level], k)
    for found, value in zip(CONSTANTS[term], expected, strict=True):
        assert found[level].dtype == np.float32
        np.testing.assert_allclose(found[level][k], value, rtol=2e-6)


@pytest.mark.parametrize("image", range(0, 24, 5))
def test_left_out_constants_are_those_of_a_fit_without_the_image(image):
    kept = np.arange(24) != image
    fitted = fit_constants([m[kept] for m in MAPS], [m[kept] for m in ENTROPY], LABELS[kept], CLASSES)
    expected = of_classes(fitted, LABELS[image])
    found = jax.tree.map(lambda array: array[image], leave_one_out(MAPS, ENTROPY, LABELS))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-6), found, expected)


@pytest.mark.parametrize("image", [0, 3, 5])
def test_all_tiles_of_an_image_are_left_out(image):
    labels = np.repeat(np.arange(6) % 2, 4)
    kept = np.arange(24) // 4 != image
    fitted = fit_constants([m[kept] for m in MAPS], [m[kept] for m in ENTROPY], labels[kept], 2)
    expected = of_classes(fitted, image % 2)
    found = jax.tree.map(lambda array: array[image], leave_one_out(MAPS, ENTROPY, labels, tiles=4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-6), found, expected)


def test_of_two_images_each_is_scored_by_the_other():
    maps = [m[:2] for m in MAPS]
    found = leave_one_out(maps, maps, np.zeros(2, int)).log_likelihood
    np.testing.assert_allclose(found.position_mean[0], maps[0][::-1], rtol=1e-6)
    for deviation, other in zip(found.position_deviation, maps, strict=True):
        spread = np.std(other[::-1].astype(np.float64), axis=(1, 2)) * np.sqrt(10 / 11)
        np.testing.assert_allclose(
            deviation, np.broadcast_to(spread[:, None, None], deviation.shape), rtol=1e-5
        )


def test_shapes_to_restore_into_are_those_of_a_fit():
    expected = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), CONSTANTS)
    assert abstract_constants(SIZES, CLASSES) == expected


def image_scores(counts=(9, 30, 2), seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return (rng.normal(size=(len(labels), 4)) * (1 + labels[:, None]) + labels[:, None]).astype(
        np.float32
    ), labels


def test_image_constants_are_moments_with_a_prior_of_three_images():
    scores, labels = image_scores()
    found = fit_image_constants(scores, labels, 3)
    own = [np.float64(scores[labels == k]) for k in range(3)]
    pooled = sum(np.sum((s - s.mean(0)) ** 2, 0) for s in own) / (len(labels) - 3)
    for k, s in enumerate(own):
        np.testing.assert_allclose(found.mean[k], s.mean(0), rtol=1e-5, atol=1e-6)
        variance = (np.sum((s - s.mean(0)) ** 2, 0) + 3 * pooled) / (len(s) - 1 + 3)
        np.testing.assert_allclose(found.deviation[k], np.sqrt(variance), rtol=1e-5)


def test_a_left_out_image_has_no_part_in_its_image_constants():
    scores, labels = image_scores()
    found = leave_one_score_out(scores, labels)
    for i in range(0, len(labels), 5):
        others = (labels == labels[i]) & (np.arange(len(labels)) != i)
        np.testing.assert_allclose(found.mean[i], scores[others].mean(0), rtol=1e-4, atol=1e-5)
        moved = scores.copy()
        moved[i] += 0.01  # its share in the variance of all classes, no more, is left
        np.testing.assert_allclose(
            leave_one_score_out(moved, labels).deviation[i], found.deviation[i], rtol=1e-2
        )
        np.testing.assert_array_equal(leave_one_score_out(moved, labels).mean[i], found.mean[i])


def test_image_constants_of_two_images_and_of_scores_all_alike():
    two = leave_one_score_out(np.float32([[1], [3]]), np.array([0, 0]))
    np.testing.assert_allclose(two.mean[:, 0], [3, 1])
    np.testing.assert_allclose(two.deviation, 1)  # nothing tells
    alike = fit_image_constants(np.full((5, 2), 7, np.float32), np.zeros(5, int), 1)
    np.testing.assert_allclose(alike.deviation, LEAST_DEVIATION)


def test_shapes_of_image_constants_to_restore_into():
    scores, labels = image_scores()
    fitted = fit_constants(MAPS, ENTROPY, LABELS, CLASSES)
    fitted = fitted._replace(image=fit_image_constants(scores, labels, 3))
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype), fitted)
    abstract = abstract_constants(SIZES, CLASSES, pieces=4)
    assert shapes == jax.tree.map(lambda a: (a.shape, a.dtype), abstract)
