"""AUPRO against its definition, written out, and on cases whose value is known."""

import itertools

import numpy as np
import pytest

from hgad_jax.metrics.region import aupro


def regions_of(mask):
    """8-connected regions by flood fill, as sets of positions."""
    left, regions = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        regions.append(region)
    return regions


def by_definition(masks, maps, limit=0.3):
    """Every threshold in turn, every region in turn, trapezoids cut at the limit."""
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel()), reverse=True):
        found = maps >= threshold
        overlaps = [
            sum(found[n][position] for position in region) / len(region)
            for n, mask in enumerate(masks)
            for region in regions_of(mask)
        ]
        curve.append((np.sum(found & ~masks) / np.sum(~masks), np.mean(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


def random_case(seed, levels):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 7, 9)) < 0.2
    maps = rng.integers(0, levels, masks.shape) + masks * rng.integers(0, levels, masks.shape) / 2
    return masks, maps.astype(np.float32)


@pytest.mark.parametrize("levels", [2, 6, 100_000])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_equals_the_definition(seed, levels, limit):
    masks, maps = random_case(seed, levels)
    found = aupro(masks, maps, limit=limit)
    assert found == pytest.approx(by_definition(masks, maps, limit), abs=1e-9)
    assert 0 <= found <= 1


def one_square():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:4, 3:6] = True
    return masks


def test_perfect_inverted_and_constant_maps():
    masks = one_square()
    assert aupro(masks, masks.astype(float)) == pytest.approx(1)
    assert aupro(masks, -masks.astype(float)) == 0
    assert aupro(masks, np.ones(masks.shape)) == pytest.approx(0.15)  # the diagonal: 0.3² / 2 / 0.3


def test_half_a_region_found_before_any_good_pixel():
    masks = one_square()
    maps = np.zeros(masks.shape)
    maps[0, 2, 3:6] = 2  # three of the six pixels; the rest together with the good ones
    # From (0, 1/2) straight to (1, 1): mean of 1/2 and 1/2 + 0.3/2.
    assert aupro(masks, maps) == pytest.approx((0.5 + 0.65) / 2)


def test_regions_weigh_the_same_whatever_their_size():
    masks = np.zeros((1, 20, 20), bool)
    masks[0, :10, :10] = True
    masks[0, 15, 15] = True
    small_only, large_only = np.zeros((2, 1, 20, 20))
    small_only[0, 15, 15] = 1
    large_only[0, :10, :10] = 1
    assert aupro(masks, small_only) == pytest.approx(aupro(masks, large_only))
    assert aupro(masks, small_only) == pytest.approx((0.5 + 0.65) / 2)


def test_diagonal_neighbours_are_one_region():
    masks = np.zeros((1, 10, 10), bool)
    masks[0, [1, 2], [1, 2]] = True  # touching at a corner
    masks[0, 7, 7] = True
    maps = np.zeros(masks.shape)
    maps[0, 7, 7] = 1
    assert aupro(masks, maps) == pytest.approx((0.5 + 0.65) / 2), "one of two regions, not of three"


def test_regions_of_different_images_do_not_touch():
    masks = np.zeros((2, 6, 6), bool)
    masks[:, 2, 2] = True
    maps = np.zeros(masks.shape)
    maps[0, 2, 2] = 1
    assert aupro(masks, maps) == pytest.approx((0.5 + 0.65) / 2)


@pytest.mark.parametrize("change", [lambda m: 3 * m - 7, np.exp, lambda m: m**3])
def test_only_the_order_of_scores_matters(change):
    masks, maps = random_case(0, 9)
    assert aupro(masks, change(maps.astype(np.float64))) == pytest.approx(aupro(masks, maps), abs=1e-12)


def test_nothing_to_compare():
    assert aupro(np.zeros((2, 4, 4)), np.zeros((2, 4, 4))) is None
    assert aupro(np.ones((2, 4, 4)), np.zeros((2, 4, 4))) is None
