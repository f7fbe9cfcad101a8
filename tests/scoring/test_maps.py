import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from hgad_jax.resize import resize_aligned
from hgad_jax.scoring.maps import image_score, smooth, upsample_and_sum

RNG = np.random.default_rng(0)


def exact_resize(image, height, width):
    """Bilinear, corners aligned, in float64: one channel [h, w]."""
    rows = np.linspace(0, image.shape[0] - 1, height)
    columns = np.linspace(0, image.shape[1] - 1, width)
    grid = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(image.astype(np.float64), grid, order=1, mode="nearest")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4, 4), (32, 32)),
        ((3, 5), (7, 11)),
        ((16, 9), (5, 4)),
        ((1, 3), (4, 4)),
        ((6, 6), (1, 2)),
        ((5, 5), (5, 9)),
    ],
)
def test_resize_equals_aligned_bilinear_interpolation(source, target):
    images = RNG.normal(size=(2, *source, 3)).astype(np.float32)
    actual = resize_aligned(images, *target)
    assert actual.shape == (2, *target, 3)
    for b in range(2):
        for c in range(3):
            expected = exact_resize(images[b, ..., c], *target)
            np.testing.assert_allclose(actual[b, ..., c], expected, atol=2e-6)


def test_resize_keeps_corners_and_planes():
    """What aligned corners means: the corners stay, and a linear ramp becomes the same ramp, denser."""
    ramp = np.add.outer(2 * np.arange(4), np.arange(7)).astype(np.float32)[None, ..., None]
    resized = resize_aligned(ramp, 10, 13)[0, ..., 0]
    expected = np.add.outer(2 * np.linspace(0, 3, 10), np.linspace(0, 6, 13))
    np.testing.assert_allclose(resized, expected, atol=1e-5)


def test_resize_to_the_same_size_changes_nothing():
    images = RNG.normal(size=(1, 4, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(resize_aligned(images, 4, 5), images)


def test_upsample_and_sum_adds_the_levels():
    levels = tuple(RNG.normal(size=(3, n, n)).astype(np.float32) for n in (8, 4, 2))
    actual = upsample_and_sum(levels, 16)
    for b in range(3):
        expected = sum(exact_resize(m[b], 16, 16) for m in levels)
        np.testing.assert_allclose(actual[b], expected, atol=5e-6)


@pytest.mark.parametrize("sigma", [1.0, 4.0])
@pytest.mark.parametrize("shape", [(40, 50), (6, 6), (3, 9), (1, 5)])
def test_smooth_equals_scipy(shape, sigma):
    """Also where the filter is wider than the map and is mirrored more than once."""
    maps = RNG.normal(size=(2, *shape)).astype(np.float32)
    actual = smooth(maps, sigma)
    for b in range(2):
        expected = gaussian_filter(maps[b].astype(np.float64), sigma)
        np.testing.assert_allclose(actual[b], expected, atol=1e-6)


def test_smooth_with_sigma_zero_changes_nothing():
    maps = RNG.normal(size=(2, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(smooth(maps, 0), maps)


@pytest.mark.parametrize(
    ("top_fraction", "count"), [(0.0, 1), (0.001, 1), (0.1, 20), (0.101, 21), (1.0, 200)]
)
def test_image_score_is_the_mean_of_the_highest_values(top_fraction, count):
    maps = RNG.normal(size=(3, 10, 20)).astype(np.float32)
    expected = np.sort(maps.reshape(3, -1).astype(np.float64), axis=-1)[:, -count:].mean(-1)
    np.testing.assert_allclose(image_score(maps, top_fraction), expected, rtol=1e-6, atol=1e-6)


def test_image_score_of_one_equals_that_of_a_batch():
    maps = RNG.normal(size=(4, 6, 6)).astype(np.float32)
    scores = image_score(maps, 0.1)
    alone = [image_score(maps[i : i + 1], 0.1)[0] for i in range(4)]
    np.testing.assert_allclose(alone, scores, rtol=1e-6)


def test_maps_under_jit():
    levels = tuple(RNG.normal(size=(2, n, n)).astype(np.float32) for n in (4, 2))

    def score(levels):
        return image_score(smooth(upsample_and_sum(levels, 8), 1.0), 0.1)

    np.testing.assert_allclose(jax.jit(score)(levels), score(levels), rtol=1e-5, atol=1e-6)
