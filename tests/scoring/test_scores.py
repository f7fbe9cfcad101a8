"""From evidence to scores: tiles blended without seams, padding that does not count, strangeness."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_constants import LABELS, MAPS

from hgad_jax.data.geometry import Transform
from hgad_jax.data.tiles import blend as reference_blend
from hgad_jax.data.tiles import tile_boxes, tile_window
from hgad_jax.scoring.constants import fit_constants, of_classes
from hgad_jax.scoring.maps import image_score, inside, quantile
from hgad_jax.scoring.scores import Tiling, blend, combine

SCORING = SimpleNamespace(
    image_map="level", pixel_map="position", top_fraction=0.05, sigma=0.0, ordinary_fraction=0.25
)
ZEROS = [np.zeros_like(m) for m in MAPS]
CONSTANTS = of_classes(fit_constants(MAPS, ZEROS, LABELS, 3), LABELS)


def tiling(size, tiles=1, overlap=0.25):
    transform = Transform(size, tiles=tiles, tile_overlap=overlap)
    corners = tuple((box.top, box.left) for box in tile_boxes(transform))
    return Tiling(transform.working_size, corners, tile_window(transform)), transform


@functools.partial(jax.jit, static_argnames=("tiles",))
def scored(maps, constants, boxes, tiles=1):
    return combine(maps, ZEROS, constants, boxes, tiling=tiling(12, tiles)[0], scoring=SCORING)


def whole(count, side=12):
    return np.tile([0, 0, side, side], (count, 1))


@pytest.mark.parametrize(("tiles", "overlap"), [(2, 0.25), (3, 0.4), (2, 0.05)])
def test_tiles_are_blended_as_the_data_package_blends_them(tiles, overlap):
    shape, transform = tiling(16, tiles, overlap)
    maps = np.random.default_rng(0).normal(size=(3, tiles**2, 16, 16)).astype(np.float32)
    found = blend(jnp.asarray(maps.reshape(-1, 16, 16)), shape)
    expected = np.stack([reference_blend(image, transform) for image in maps])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_smooth_map_cut_into_tiles_has_no_seam():
    shape, transform = tiling(16, 3)
    y, x = np.mgrid[: shape.side, : shape.side] / shape.side
    smooth = np.sin(3 * x) + y**2
    cut = np.stack([smooth[box.slices] for box in tile_boxes(transform)]).astype(np.float32)
    np.testing.assert_allclose(blend(jnp.asarray(cut), shape)[0], smooth, atol=1e-5)


def test_four_tiles_give_one_score_from_the_blended_map():
    found = scored(MAPS, CONSTANTS, whole(6, 21), tiles=2)
    assert found.image.shape == found.strangeness.shape == (6,)
    assert found.maps.shape == (6, 21, 21)
    level = SimpleNamespace(**vars(SCORING) | {"pixel_map": "level"})
    same = combine(MAPS, ZEROS, CONSTANTS, whole(6, 21), tiling=tiling(12, 2)[0], scoring=level)
    np.testing.assert_allclose(same.image, image_score(same.maps, 0.05), rtol=1e-5)
    np.testing.assert_allclose(same.image, found.image, rtol=1e-5)


def test_what_a_letterbox_pads_does_not_count():
    """The same image, and padding as odd as can be: score and strangeness stay."""
    boxes = np.tile([2, 0, 8, 12], (len(LABELS), 1))
    odd = [m.copy() for m in MAPS]
    odd[0][:, -1:] -= 1e4  # rows of level 0 that reach down to the padding only
    mask = np.zeros((12, 12), bool)
    mask[2:10] = True
    before, after = scored(MAPS, CONSTANTS, boxes), scored(odd, CONSTANTS, boxes)
    np.testing.assert_array_equal(before.strangeness, after.strangeness)
    everything = scored(odd, CONSTANTS, whole(len(LABELS)))
    assert (everything.image > after.image).all()
    level = SimpleNamespace(**vars(SCORING) | {"pixel_map": "level"})
    maps = np.asarray(
        combine(MAPS, ZEROS, CONSTANTS, boxes, tiling=tiling(12)[0], scoring=level).maps, np.float64
    )
    expected = [np.sort(image[mask])[-5:].mean() for image in maps]  # ceil(0.05 · 96)
    np.testing.assert_allclose(before.image, expected, rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 1.0])
def test_image_score_of_what_is_seen_equals_numpy(fraction):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(5, 8, 9)).astype(np.float32)
    seen = rng.uniform(size=maps.shape) < 0.6
    found = image_score(jnp.asarray(maps), fraction, jnp.asarray(seen))
    for score, image, mask in zip(found, maps, seen, strict=True):
        count = max(1, int(np.ceil(np.float32(fraction) * np.float32(mask.sum()))))
        assert score == pytest.approx(np.sort(image[mask])[-count:].mean(), rel=1e-5)
    full = image_score(jnp.asarray(maps), fraction, jnp.ones(maps.shape, bool))
    np.testing.assert_allclose(full, image_score(jnp.asarray(maps), fraction), rtol=1e-6)


def test_inside_equals_slicing():
    boxes = np.array([[0, 0, 7, 7], [2, 1, 3, 4], [6, 6, 1, 1]])
    for found, (top, left, height, width) in zip(inside(jnp.asarray(boxes), 7), boxes, strict=True):
        expected = np.zeros((7, 7), bool)
        expected[top : top + height, left : left + width] = True
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 1.0])
def test_quantile_equals_numpy(fraction):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 50)).astype(np.float32)
    counted = rng.uniform(size=values.shape) < 0.5
    found = quantile(jnp.asarray(values), fraction, jnp.asarray(counted))
    for value, row, mask in zip(found, values, counted, strict=True):
        below = np.sort(row[mask])
        assert value == below[round(fraction * (len(below) - 1))]


def test_a_defect_is_not_strange_but_another_product_is():
    good = scored(MAPS, CONSTANTS, whole(len(LABELS))).strangeness
    defect = [m.copy() for m in MAPS]
    for level in defect:
        level[:, : level.shape[1] // 2] -= 1e3  # half of the image
    one_level = [MAPS[0] - 1e3, MAPS[1]]
    other = [m - 1e3 for m in MAPS]
    assert np.max(scored(defect, CONSTANTS, whole(len(LABELS))).strangeness) < np.max(good) + 3
    assert np.max(scored(one_level, CONSTANTS, whole(len(LABELS))).strangeness) <= np.max(good) + 3
    assert np.min(scored(other, CONSTANTS, whole(len(LABELS))).strangeness) > 100
