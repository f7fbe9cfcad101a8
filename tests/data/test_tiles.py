"""Tiles cover the image, and their maps come together without a seam."""

import itertools

import numpy as np
import pytest
import scipy.ndimage

from hgad_jax.data.geometry import Transform, valid_region
from hgad_jax.data.tiles import blend, cut, example_indices, tile_boxes

TRANSFORMS = [
    Transform(32),
    Transform(32, tiles=2),
    Transform(33, tiles=3, tile_overlap=0.1),
    Transform(32, tiles=4, tile_overlap=0.5),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_tiles_cover_the_working_square_and_overlap_as_asked(transform):
    boxes = tile_boxes(transform)
    assert len(boxes) == transform.num_tiles
    covered = np.zeros((transform.working_size,) * 2, int)
    for box in boxes:
        assert (box.height, box.width) == (transform.size, transform.size)
        covered[box.slices] += 1
    assert covered.min() == 1
    for first, second in itertools.pairwise(boxes[: transform.tiles]):
        shared = first.left + transform.size - second.left
        assert abs(shared - transform.tile_overlap * transform.size) <= 1


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("value", [0.0, -3.7, 1e6])
def test_a_constant_stays_constant(transform, value):
    maps = np.full((transform.num_tiles, transform.size, transform.size), value, np.float32)
    np.testing.assert_allclose(blend(maps, transform), value, rtol=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_tiles_that_agree_give_the_whole_back(transform):
    whole = np.random.default_rng(0).standard_normal((transform.working_size,) * 2)
    np.testing.assert_allclose(blend(cut(whole, transform), transform), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS[1:])
def test_tiles_that_disagree_show_no_seam(transform):
    """Steps of one between tiles become slopes: no neighbouring pixels differ by as much as a cut would."""
    maps = np.random.default_rng(0).permutation(transform.num_tiles).astype(np.float32)
    maps = np.broadcast_to(maps[:, None, None], (len(maps), transform.size, transform.size))
    whole = blend(maps, transform)
    span = np.ptp(maps)
    steepest = max(np.abs(np.diff(whole, axis=axis)).max() for axis in (0, 1))
    overlap = transform.tile_overlap * transform.size
    assert steepest < 3 * span / overlap
    assert steepest < 0.7 * span
    assert whole.min() >= maps.min()
    assert whole.max() <= maps.max()


def test_smooth_maps_stay_smooth_across_the_overlap():
    transform = Transform(32, tiles=2, tile_overlap=0.5)
    rng = np.random.default_rng(1)
    maps = np.stack([scipy.ndimage.gaussian_filter(rng.standard_normal((32, 32)), 4) for _ in range(4)])
    within = max(np.abs(np.diff(maps, axis=axis)).max() for axis in (1, 2))
    whole = blend(maps, transform)
    across = max(np.abs(np.diff(whole, axis=axis)).max() for axis in (0, 1))
    assert across < within + np.ptp(maps) * np.pi / 2 / 16


def test_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected \(4, 32, 32\)"):
        blend(np.zeros((1, 32, 32)), Transform(32, tiles=2))


def test_examples_of_images_are_all_their_tiles():
    np.testing.assert_array_equal(example_indices([2, 0], Transform(8, tiles=2)), [8, 9, 10, 11, 0, 1, 2, 3])
    np.testing.assert_array_equal(example_indices([2, 0], Transform(8)), [2, 0])
    assert example_indices([], Transform(8, tiles=2)).shape == (0,)


def test_valid_region_of_a_tile():
    transform = Transform(32, "letterbox", tiles=2, tile_overlap=0.5)  # 48 × 48, image in rows 12 to 36
    region = valid_region(transform, (50, 100))
    rows = [region.within(box)[::2] for box in tile_boxes(transform)]
    assert rows == [(12, 20), (12, 20), (0, 20), (0, 20)]
