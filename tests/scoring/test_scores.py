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
from hgad_jax.resize import resize_aligned
from hgad_jax.scoring.constants import ImageConstants, fit_constants, of_classes
from hgad_jax.scoring.evidence import IMAGE_SCORES
from hgad_jax.scoring.maps import image_score, inside, quantile
from hgad_jax.scoring.scores import Tiling, blend, combine, piece_scores

SCORING = SimpleNamespace(
    image_score="map",
    evidence=(),
    image_map="level",
    pixel_map="position",
    top_fraction=0.05,
    sigma=0.0,
    ordinary_fraction=0.25,
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


def with_scores(**settings):
    return SimpleNamespace(**(vars(SCORING) | settings))


def own_scores(scoring, maps=MAPS, constants=CONSTANTS, boxes=None, tiles=1):
    shape, _ = tiling(12, tiles)
    boxes = whole(len(LABELS) // tiles**2, shape.side) if boxes is None else boxes
    return np.asarray(piece_scores(maps, constants, inside(jnp.asarray(boxes), shape.side), shape, scoring))


def standardized(level, by_position):
    term = CONSTANTS.log_likelihood
    if by_position:
        mean, deviation = term.position_mean[level], term.position_deviation[level]
    else:
        mean, deviation = (c[level][:, None, None] for c in (term.level_mean, term.level_deviation))
    return (mean - MAPS[level]) / deviation


@pytest.mark.parametrize("by_position", [False, True])
def test_the_score_of_a_level_is_the_mean_of_its_highest_positions(by_position):
    text = "@position" if by_position else ""
    settings = with_scores(image_score="sum", evidence=(f"1{text}", f"0{text}"), top_fraction=0.2)
    found = own_scores(settings)
    for column, level in enumerate((1, 0)):
        values = np.sort(standardized(level, by_position).reshape(len(LABELS), -1), 1)
        most = int(np.ceil(0.2 * values.shape[1]))
        np.testing.assert_allclose(found[:, column], values[:, -most:].mean(1), rtol=1e-5, atol=1e-5)


def test_levels_are_added_at_the_positions_of_the_finest():
    found = own_scores(with_scores(image_score="sum", evidence=("1+0",), top_fraction=0.0))
    fine, coarse = standardized(0, False), standardized(1, False)
    expected = fine + resize_aligned(coarse[..., None], *fine.shape[1:])[..., 0]
    np.testing.assert_allclose(found[:, 0], expected.max((1, 2)), rtol=1e-5)


def test_the_levels_of_all_tiles_of_an_image_are_one():
    settings = with_scores(image_score="sum", top_fraction=0.0)
    images, constants = [m[:4] for m in MAPS], jax.tree.map(lambda array: array[:4], CONSTANTS)
    whole_image = own_scores(settings, images, constants, whole(4))
    shape, _ = tiling(12, 2)
    tiled = own_scores(settings, images, constants, whole(1, shape.side), tiles=2)
    np.testing.assert_allclose(tiled, whole_image.max(0, keepdims=True), rtol=1e-6)


def test_what_a_letterbox_pads_is_in_no_levels_score():
    boxes = np.tile([3, 0, 6, 12], (len(LABELS), 1))
    settings = with_scores(image_score="sum", top_fraction=0.0, evidence=("0",))
    rows = (np.arange(4) + 0.5) * 12 / 4
    seen = (rows >= 3) & (rows < 9)
    expected = standardized(0, False)[:, seen].max((1, 2))
    np.testing.assert_allclose(own_scores(settings, boxes=boxes)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", IMAGE_SCORES)
def test_image_scores_are_combined_in_deviations_from_good_images(name):
    settings = with_scores(image_score=name)
    rng = np.random.default_rng(0)
    image = ImageConstants(*(rng.uniform(1, 2, (len(LABELS), 2)).astype(np.float32) for _ in range(2)))
    shape, _ = tiling(12)
    constants = CONSTANTS._replace(image=image)
    found = combine(MAPS, ZEROS, constants, whole(len(LABELS)), tiling=shape, scoring=settings)
    standard = (own_scores(settings).astype(np.float64) - image.mean) / image.deviation
    np.testing.assert_allclose(found.pieces, standard, rtol=1e-4, atol=1e-4)
    expected = {
        "two_highest": standard.sum(1),  # there are two
        "highest": standard.max(1),
        "sum": standard.sum(1),
        "logsumexp": np.log(np.exp(standard).sum(1)),
    }[name]
    np.testing.assert_allclose(found.image, expected, rtol=1e-4, atol=1e-4)
    same = scored(MAPS, CONSTANTS, whole(len(LABELS)))
    np.testing.assert_allclose(found.maps, same.maps, atol=1e-5)  # for pixels nothing changes
    assert same.pieces.shape == (len(LABELS), 0)
