"""Maps come back to the pixels they are about."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from hgad_jax.config import get_config
from hgad_jax.data.geometry import (
    Box,
    Transform,
    cut_fraction,
    map_to_image,
    placement,
    transform_of,
    valid_region,
)
from hgad_jax.data.transforms import load_image

SIZES = [(40, 40), (33, 90), (120, 50), (300, 200)]
RESIZES = ["squash", "short_side_crop", "letterbox"]


def test_transform_is_read_from_a_config():
    data = get_config("hgad_folder").data
    assert transform_of(data) == Transform(256, white_level=0, detail=2), (
        "the same defaults, but for what is found later, and for the bank"
    )
    data.update(
        detail=1, image_size=64, resize="letterbox", tiles=2, white_level=4095, value_range=(0.0, 1.0)
    )
    assert transform_of(data) == Transform(64, "letterbox", "bilinear", 2, 0.25, 4095, (0.0, 1.0))


def test_working_size_and_key():
    assert Transform(256).working_size == 256
    assert Transform(256, tiles=3).working_size == 640  # two overlaps of 64
    keys = [Transform(64), Transform(65), Transform(64, "letterbox"), Transform(64, tiles=2)]
    assert len({str(t.key()) for t in keys}) == 4


def test_keys_of_8_bit_images_are_those_of_before_and_others_tell_of_white():
    plain = Transform(64, white_level=0)
    assert plain.key() == {
        "version": 1,
        "size": 64,
        "resize": "squash",
        "interpolation": "bilinear",
        "tiles": 1,
        "tile_overlap": 0.25,
    }
    assert plain._replace(max_pixels=5).key() == Transform(64).key() == plain.key()
    levels = [plain, *(plain._replace(white_level=level) for level in (255, 4095))]
    ranges = [plain._replace(value_range=pair) for pair in ((0.0, 1.0), (-1.0, 1.0))]
    assert len({str(t.key()) for t in levels + ranges}) == 5


def test_unknown_resize_is_refused():
    with pytest.raises(ValueError, match="resize is 'crop'"):
        placement(Transform(8, "crop"), (4, 4))


def test_placement():
    assert placement(Transform(50), (100, 200)) == Box(0, 0, 50, 50)
    assert placement(Transform(50, "short_side_crop"), (100, 200)) == Box(0, -25, 50, 100)
    assert placement(Transform(50, "letterbox"), (100, 200)) == Box(12, 0, 25, 50)
    assert placement(Transform(50, "letterbox"), (1, 2000)).height == 1


def test_cut_fraction():
    assert cut_fraction(Transform(50, "short_side_crop"), (100, 200)) == pytest.approx(0.5)
    assert cut_fraction(Transform(50, "letterbox"), (100, 200)) == 0
    assert cut_fraction(Transform(50), (100, 200)) == 0


def test_box_within_another():
    assert Box(2, 3, 10, 10).within(Box(5, 0, 4, 8)) == Box(0, 3, 4, 5)
    assert Box(0, 0, 4, 4).within(Box(4, 0, 4, 4)) == Box(0, 0, 0, 0)
    assert Box(0, 0, 4, 4).within(Box(4, 0, 4, 4)).mask(3).sum() == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", RESIZES)
def test_valid_region_is_where_a_white_image_is_white(resize, size):
    transform = Transform(48, resize)
    white = load_image(np.full(size, 255, np.uint8), transform)[..., 0] == 255
    np.testing.assert_array_equal(valid_region(transform, size).mask(48), white)


@pytest.mark.parametrize("size", [(40, 40), (33, 90), (120, 50)])
def test_a_squashed_map_comes_back_as_pillow_resizes_it(size):
    rng = np.random.default_rng(0)
    anomaly_map = rng.standard_normal((48, 48)).astype(np.float32)
    expected = Image.fromarray(anomaly_map).resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(map_to_image(anomaly_map, Transform(48), size), expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", RESIZES)
def test_an_image_comes_back_to_its_own_pixels(resize, size):
    """The picture itself as a map: smooth, so that resizing and back changes it little."""
    photo = Image.fromarray(skimage.data.camera()).resize((12, 12)).resize(size[::-1], Image.BICUBIC)
    image = np.asarray(photo)
    transform = Transform(160, resize)
    seen = load_image(image, transform)[..., 0]
    back = map_to_image(seen, transform, size)
    assert back.shape == size
    assert back.dtype == np.float32
    known = ~np.isnan(back)
    assert np.abs(back[known] - image[known]).mean() < 2
    assert known.mean() == pytest.approx(1 - cut_fraction(transform, size), abs=0.02)
    if resize != "short_side_crop":
        assert known.all()


def test_pixels_that_were_cut_off_are_nan():
    back = map_to_image(np.ones((50, 50)), Transform(50, "short_side_crop"), (100, 200))
    assert np.isnan(back[:, :50]).all()
    assert np.isnan(back[:, 150:]).all()
    np.testing.assert_allclose(back[:, 50:150], 1, rtol=1e-6)


def test_black_borders_of_a_letterbox_do_not_leak_into_the_map():
    anomaly_map = np.full((50, 50), 1e6)
    region = valid_region(Transform(50, "letterbox"), (100, 200))
    anomaly_map[region.slices] = 1.0
    back = map_to_image(anomaly_map, Transform(50, "letterbox"), (100, 200))
    np.testing.assert_allclose(back, 1, rtol=1e-6)


def test_a_point_comes_back_where_it_was():
    """A bright pixel of a large image, found in the map, lies where it was within a pixel of the map."""
    for resize in RESIZES:
        image = np.zeros((300, 420), np.uint8)
        image[145:155, 260:270] = 255
        transform = Transform(64, resize)
        back = np.nan_to_num(map_to_image(load_image(image, transform)[..., 0], transform, image.shape))
        y, x = np.unravel_index(back.argmax(), back.shape)
        assert abs(y - 149.5) < 7, resize
        assert abs(x - 264.5) < 7, resize


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(8, 8\), expected \(14, 14\)"):
        map_to_image(np.zeros((8, 8)), Transform(8, tiles=2), (4, 4))
