"""What is done to a backbone's maps, against float64 NumPy written out."""

import numpy as np
import pytest

from hgad_jax.backbones import adapt
from hgad_jax.backbones.levels import feature_levels
from hgad_jax.errors import UserError


def maps(*shape, seed=0):
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.normal(size=shape[-1]))
    return (scales * rng.normal(0.5, 1.0, shape)).astype(np.float32)


def equalized(image, floor):
    """One image, channel by channel."""
    image = image.astype(np.float64)
    deviations = image.std((0, 1))
    overall = np.sqrt(np.mean(deviations**2) + 1e-3 * np.mean(image**2))
    out = np.empty_like(image)
    for c in range(image.shape[-1]):
        mean = image[:, :, c].mean()
        own = np.sqrt(deviations[c] ** 2 + floor * overall**2)
        out[:, :, c] = mean / overall + (image[:, :, c] - mean) / own
    return out


@pytest.mark.parametrize("floor", [1e-3, 0.1, 1.0])
def test_equalize_is_the_formula(floor):
    features = maps(3, 5, 7, 6)
    found = np.asarray(adapt.equalize(features, floor))
    assert found.dtype == np.float32
    for image, expected in zip(found, features, strict=True):
        np.testing.assert_allclose(image, equalized(expected, floor), rtol=2e-5, atol=2e-5)


def test_maps_that_differ_by_a_factor_become_the_same():
    features = maps(1, 6, 6, 4)
    factors = np.float32([1e-3, 0.3, 1.0, 50.0])[:, None, None, None]
    found = np.asarray(adapt.equalize(factors * features, 0.1))
    assert not np.allclose(found[0], features[0], atol=0.1)
    for image in found:
        np.testing.assert_allclose(image, found[0], rtol=1e-4, atol=1e-5)


def test_an_image_is_the_same_alone_and_among_others():
    features = maps(4, 6, 6, 3)
    alone = np.concatenate([adapt.equalize(image[None], 0.1) for image in features])
    np.testing.assert_allclose(adapt.equalize(features, 0.1), alone, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("features", [np.zeros((2, 4, 4, 3)), np.full((2, 4, 4, 3), 7.0), maps(2, 1, 1, 3)])
def test_maps_without_any_deviation_stay_bounded(features):
    """Black images, blank ones, and levels of a single position."""
    found = np.asarray(adapt.equalize(np.float32(features), 0.1))
    assert np.abs(found).max() < 100


def neighbourhood(image, side):
    reach, (height, width, _) = side // 2, image.shape
    out = np.empty_like(image, np.float64)
    for y in range(height):
        for x in range(width):
            rows = slice(max(y - reach, 0), y + reach + 1)
            columns = slice(max(x - reach, 0), x + reach + 1)
            out[y, x] = image[rows, columns].mean((0, 1), dtype=np.float64)
    return out


@pytest.mark.parametrize("side", [1, 3, 5])
def test_neighbours_are_averaged_as_far_as_there_are_any(side):
    features = maps(2, 4, 6, 3)
    found = np.asarray(adapt.average_neighbours(features, side))
    for image, of in zip(found, features, strict=True):
        np.testing.assert_allclose(image, neighbourhood(of, side), rtol=1e-5, atol=1e-6)


def levels_with(**changes):
    settings = {"taps": ("act1", "layer1"), "scales": (1,), "image_size": 64, "source": "random"}
    return feature_levels("resnet18", **settings, **changes)


def test_levels_are_equalized_and_then_averaged_level_by_level():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    plain, changed = levels_with(), levels_with(equalize=0.1, neighbours=(3,))
    features, found = (levels.apply(levels.variables, images) for levels in (plain, changed))
    assert len(found) == 2
    for number, (level, of) in enumerate(zip(found, features, strict=True)):
        for image, before in zip(level, of, strict=True):
            expected = equalized(np.asarray(before), 0.1)
            expected = neighbourhood(expected, 3) if number == 0 else expected
            np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-4)


def test_levels_are_known_by_what_is_done_to_them():
    changes = ({}, {"equalize": 0.1}, {"equalize": 0.2}, {"neighbours": (3,)}, {"neighbours": (3, 3)})
    assert len({levels_with(**each).weights_hash for each in changes}) == len(changes)
    assert levels_with().weights_hash == levels_with(equalize=0.0, neighbours=()).weights_hash


def test_more_neighbours_than_levels_are_refused():
    with pytest.raises(UserError, match=r"neighbours is \(3, 3, 3, 3\), expected at most 2 numbers"):
        levels_with(neighbours=(3, 3, 3, 3))
