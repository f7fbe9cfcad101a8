"""Polygons of regions: filled again they give the mask back, whatever its shape."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from hgad_jax.inference.contours import regions_above


def filled(regions, shape):
    """Rasterised by the even-odd rule on pixel centres, independently of how the loops were found."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for region in regions:
        for loop in [region.outline, *region.holes]:
            for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
                if y0 != y1:  # all edges are horizontal or vertical
                    inside ^= (x > x0) & (y > min(y0, y1)) & (y < max(y0, y1))
                    assert x0 == x1
    return inside


def area(loop):
    x, y = loop.T
    return 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)


@pytest.mark.parametrize("seed", range(60))
def test_filling_the_polygons_gives_the_mask(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 14, 2)
    values = rng.uniform(size=shape)
    threshold = rng.choice([0.2, 0.5, 0.8])
    regions = regions_above(values, threshold)
    np.testing.assert_array_equal(filled(regions, shape), values > threshold)
    labels, count = ndimage.label(values > threshold)
    assert len(regions) == count
    assert [r.area for r in regions] == sorted(np.bincount(labels.ravel())[1:], reverse=True)
    for region in regions:
        assert area(region.outline) + sum(area(hole) for hole in region.holes) == region.area
        assert area(region.outline) > 0
        assert all(area(hole) < 0 for hole in region.holes)
        for loop in [region.outline, *region.holes]:
            turns = np.diff(np.vstack([loop, loop[:2]]), axis=0)
            assert np.all(np.any(turns[1:] * turns[:-1] == 0, axis=1)), "corners only"
            assert not np.any(np.all(np.sign(turns[1:]) == np.sign(turns[:-1]), axis=1))


def test_a_ring_has_an_outline_and_a_hole():
    image = Image.new("L", (9, 7))
    ImageDraw.Draw(image).rectangle((1, 1, 6, 5), outline=5, width=1)
    (region,) = regions_above(np.asarray(image, float), 1.0)
    assert region.outline.tolist() == [[1, 1], [7, 1], [7, 6], [1, 6]]
    assert [sorted(hole.tolist()) for hole in region.holes] == [[[2, 2], [2, 5], [6, 2], [6, 5]]]
    assert (region.area, region.highest) == (18, 5.0)


def test_what_is_not_above_has_no_region():
    values = np.full((4, 4), np.nan)
    assert regions_above(values, 0.0) == []
    values[1, 2] = 3.0
    assert len(regions_above(values, 0.0)) == 1
    assert regions_above(values, 3.0) == []
