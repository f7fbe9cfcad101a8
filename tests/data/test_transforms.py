import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import ExifTags, Image

from hgad_jax.data import transforms
from hgad_jax.data.geometry import RESIZES, Transform
from hgad_jax.data.tiles import cut, tile_boxes
from hgad_jax.data.transforms import image_size, load, load_image, load_mask
from hgad_jax.errors import UserError

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


def save(path, array, **options):
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return str(path)


def orientation(value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif


@pytest.fixture
def colours():
    """An image of 20×30 pixels: every quarter is of one colour."""
    array = np.zeros((20, 30, 3), np.uint8)
    array[:10, :15], array[:10, 15:], array[10:, :15], array[10:, 15:] = 250, (200, 0, 0), (0, 150, 0), 40
    return array


def test_image_of_the_right_size_is_returned_as_it_is(tmp_path):
    array = RNG.integers(0, 256, (16, 16, 3), np.uint8)
    loaded = load_image(save(tmp_path / "a.png", array), Transform(16))
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, array)


def test_non_square_image_is_squashed_without_a_cut(tmp_path, colours):
    loaded = load_image(save(tmp_path / "a.bmp", colours), Transform(10))
    assert loaded.shape == (10, 10, 3)
    corners = loaded[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_array_equal(corners, [[250] * 3, [200, 0, 0], [0, 150, 0], [40] * 3])


def test_shrinking_antialiases(tmp_path):
    checkerboard = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    loaded = load_image(save(tmp_path / "a.png", checkerboard), Transform(8))
    np.testing.assert_allclose(loaded, 127.5, atol=2)


def test_grey_is_replicated(tmp_path):
    grey = RNG.integers(0, 256, (12, 16), np.uint8)
    as_grey = load_image(save(tmp_path / "grey.png", grey), Transform(8))
    as_colour = load_image(save(tmp_path / "colour.png", np.repeat(grey[..., None], 3, 2)), Transform(8))
    np.testing.assert_array_equal(as_grey, as_colour)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_from_the_full_range(tmp_path, suffix):
    values = np.array([[0, 128, 129, 257], [4095, 32768, 65406, 65535]], np.uint16)
    loaded = load_image(save(tmp_path / f"a.{suffix}", values.repeat(2, 0)), Transform(4))
    np.testing.assert_array_equal(loaded[::2, :, 0], [[0, 0, 1, 1], [16, 128, 254, 255]])


def test_big_endian_16_bit_grey(tmp_path):
    image = Image.frombytes("I;16B", (2, 2), np.full((2, 2), 65535, ">u2").tobytes())
    np.testing.assert_array_equal(load_image(save(tmp_path / "a.tif", image), Transform(2)), 255)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_rotation_is_applied(tmp_path, colours, name):
    path = save(tmp_path / name, colours, exif=orientation(6))  # to be turned clockwise by 90 degrees
    loaded = load_image(path, Transform(20))
    np.testing.assert_allclose(
        loaded, load_image(save(tmp_path / "turned.png", np.rot90(colours, -1)), Transform(20)), atol=70
    )
    assert loaded[1, 1, 1] > 140 > loaded[1, 1, 0]  # green came to the upper left
    assert image_size(path) == (30, 20)


def test_palette_and_alpha(tmp_path):
    rgba = np.full((4, 4, 4), 200, np.uint8)
    rgba[..., 3] = np.repeat([[255, 0]], 2, 1)
    np.testing.assert_array_equal(
        load_image(save(tmp_path / "a.png", rgba), Transform(4))[0, :, 0], [200, 200, 0, 0]
    )
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    np.testing.assert_array_equal(
        load_image(save(tmp_path / "b.png", palette), Transform(2))[0, 0], [10, 20, 30]
    )
    palette.putpixel((0, 0), 0)
    transparent = save(tmp_path / "c.png", palette, transparency=b"\xff\x00")
    np.testing.assert_array_equal(load_image(transparent, Transform(4)), 0)


def test_what_is_transparent_everywhere_is_shown_as_if_it_were_not(tmp_path):
    rgba = RNG.integers(0, 256, (4, 4, 4), np.uint8)
    rgba[..., 3] = 0
    path = save(tmp_path / "a.png", rgba)
    np.testing.assert_array_equal(load_image(path, Transform(4)), rgba[..., :3])
    image = np.zeros((4, 4), np.uint8)
    np.testing.assert_array_equal(load_mask(path, Transform(4), image=image), rgba[..., :3].any(2))


@pytest.mark.parametrize("mode", ["1", "LA", "CMYK"])
def test_other_modes_give_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    image = Image.new("RGB", (5, 7), (255, 255, 255)).convert(mode)
    np.testing.assert_array_equal(load_image(save(tmp_path / f"a.{suffix}", image), Transform(4)), 255)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_32_bit_pixels_are_refused(tmp_path, dtype):
    path = save(tmp_path / "a.tif", np.ones((4, 4), dtype))
    with pytest.raises(UserError, match=r"a\.tif' has 32-bit (float|integer) pixels.*Convert it to 8 or 16"):
        load_image(path, Transform(4))


def damaged(tmp_path, kind):
    path = tmp_path / f"{kind}.png"
    save(path, RNG.integers(0, 256, (64, 64, 3), np.uint8))
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"no image"}[kind])
    return str(path)


@pytest.mark.parametrize("kind", ["empty", "truncated", "text"])
def test_damaged_files_are_named(tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(UserError, match=rf"{kind}\.png' cannot be read as an image.*Replace it"):
        load_image(path, Transform(8))
    with pytest.raises(UserError, match=rf"{kind}\.png' cannot be read as an image.*Replace it"):
        load_mask(path, Transform(8), image=path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png' does not exist\. Check the path"):
        load_image(str(tmp_path / "gone.png"), Transform(8))


@pytest.fixture
def image_path(tmp_path):
    return save(tmp_path / "image.png", np.zeros((6, 12, 3), np.uint8))


@pytest.mark.parametrize(("value", "dtype"), [(1, np.uint8), (255, np.uint8), (1, np.uint16), (True, bool)])
def test_any_value_but_zero_is_defective(tmp_path, image_path, value, dtype):
    mask = np.zeros((6, 12), dtype)
    mask[:3, 6:] = value
    loaded = load_mask(save(tmp_path / "mask.png", mask), Transform(6), image=image_path)
    assert loaded.dtype == bool
    expected = np.zeros((6, 6), bool)
    expected[:3, 3:] = True
    np.testing.assert_array_equal(loaded, expected)


def test_mask_in_colour_or_with_a_palette(tmp_path, image_path):
    rgba = np.zeros((6, 12, 4), np.uint8)
    rgba[..., 3] = 255  # opaque everywhere, which is no defect
    rgba[:, 6:, 1] = 3
    expected = np.repeat([[False, True]], 3, 1).repeat(6, 0)
    loaded = load_mask(save(tmp_path / "a.png", rgba), Transform(6), image=image_path)
    np.testing.assert_array_equal(loaded, expected)
    palette = Image.fromarray(np.where(rgba[..., 1] > 0, 0, 1).astype(np.uint8))
    palette.putpalette([255, 255, 255, 0, 0, 0])  # black has the index 1
    loaded = load_mask(save(tmp_path / "b.png", palette), Transform(6), image=image_path)
    np.testing.assert_array_equal(loaded, expected)


def test_a_mask_in_alpha_is_where_it_is_not_transparent(tmp_path, image_path):
    rgba = np.full((6, 12, 4), 255, np.uint8)
    rgba[:, :6, 3] = 0
    expected = np.repeat([[False, True]], 3, 1).repeat(6, 0)
    for name, mask in (("a.png", rgba), ("b.png", rgba[..., 2:])):  # RGBA, and grey with alpha
        loaded = load_mask(save(tmp_path / name, mask), Transform(6), image=image_path)
        np.testing.assert_array_equal(loaded, expected)
    rgba[:, 6:, 3] = 1
    loaded = load_mask(save(tmp_path / "c.png", rgba), Transform(6), image=image_path)
    np.testing.assert_array_equal(loaded, expected, err_msg="as nearly transparent as can be")


def test_traces_of_jpeg_compression_are_not_defects(tmp_path):
    image_path = save(tmp_path / "image.png", np.zeros((32, 32), np.uint8))
    mask = np.zeros((32, 32), np.uint8)
    mask[9:22, 5:18] = 255
    path = save(tmp_path / "mask.jpg", mask, quality=60)
    assert (np.asarray(Image.open(path)) != 0).sum() > (mask != 0).sum()
    np.testing.assert_array_equal(load_mask(path, Transform(32), image=image_path), mask > 0)


def test_mask_follows_the_rotation_of_its_image(tmp_path):
    image = save(tmp_path / "a.jpg", np.zeros((6, 12, 3), np.uint8), exif=orientation(8))
    mask = np.ones((12, 6), np.uint8)
    assert load_mask(save(tmp_path / "mask.png", mask), Transform(4), image=image).all()


def test_mask_of_another_size_names_both_files(tmp_path, image_path):
    path = save(tmp_path / "mask.png", np.zeros((6, 6), np.uint8))
    with pytest.raises(UserError, match=r"mask\.png' has 6×6 pixels.*image\.png' has 12×6.*Resize the mask"):
        load_mask(path, Transform(6), image=image_path)


def test_pillow_images_and_arrays_are_taken_like_files(tmp_path, colours):
    expected = load_image(save(tmp_path / "a.png", colours), Transform(16))
    np.testing.assert_array_equal(load_image(colours, Transform(16)), expected)
    image = Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(image, Transform(16)), expected)
    assert image.getpixel((0, 0)) == (250, 250, 250), "the image given is still open"
    turned = Image.fromarray(colours)
    turned.getexif()[ExifTags.Base.Orientation] = 6
    np.testing.assert_array_equal(
        load_image(turned, Transform(16)), load_image(np.rot90(colours, -1).copy(), Transform(16))
    )
    assert turned.size == (30, 20), "the image given is not turned"
    wide = colours.astype(np.uint16)[..., 0] * 257
    np.testing.assert_array_equal(load_image(wide, Transform(16)), load_image(colours[..., 0], Transform(16)))


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolation_is_pillows(tmp_path, name):
    path = save(tmp_path / "a.png", skimage.data.coffee()[:90, :70])
    expected = Image.open(path).resize((32, 32), getattr(Image.Resampling, name.upper()))
    np.testing.assert_array_equal(load_image(path, Transform(32, interpolation=name)), np.asarray(expected))


@pytest.mark.parametrize(("height", "width"), [(101, 160), (160, 101), (64, 64), (40, 61)])
def test_short_side_crop_is_torchvisions_resize_and_center_crop(height, width):
    size = 64
    image = Image.fromarray(skimage.data.coffee()[:height, :width])
    # torchvision: Resize(int) truncates the longer side, CenterCrop rounds the offset.
    longer = int(size * max(height, width) / min(height, width))
    new = (longer, size) if width > height else (size, longer)
    left, top = round((new[0] - size) / 2.0), round((new[1] - size) / 2.0)
    resized = image.resize(new, Image.Resampling.LANCZOS).crop((left, top, left + size, top + size))
    transform = Transform(size, resize="short_side_crop", interpolation="lanczos")
    np.testing.assert_array_equal(load_image(image, transform), np.asarray(resized))


def test_a_crop_of_more_than_a_tenth_is_said_loudly_once(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(transforms, "warn_once", lambda message, *args: lines.append(message % args))
    crop = Transform(32, resize="short_side_crop")
    load_image(np.zeros((100, 109), np.uint8), crop)
    assert not lines
    load_image(save(tmp_path / "long.png", np.zeros((100, 200), np.uint8)), crop)
    assert "long.png': short_side_crop cuts 50 % of it away (200×100 pixels)" in lines[0]
    assert "--config.data.resize=squash" in lines[0]
    lines.clear()
    load_image(tmp_path / "long.png", Transform(32))
    load_image(tmp_path / "long.png", Transform(32, resize="letterbox"))
    assert not lines


def test_letterbox_keeps_the_aspect_and_pads_with_black(colours):
    loaded = load_image(colours, Transform(30, resize="letterbox"))
    np.testing.assert_array_equal(loaded[5:25], colours)
    assert not loaded[:5].any()
    assert not loaded[25:].any()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(700, 40, 3), (40, 700)])
def test_of_a_long_image_only_what_a_crop_leaves_is_made(monkeypatch, interpolation, shape):
    image = RNG.integers(0, 256, shape, np.uint8)
    transform = Transform(32, resize="short_side_crop", interpolation=interpolation)
    part = load_image(image, transform).astype(int)
    part_of_mask = load_mask(image // 200, transform, image=image)
    monkeypatch.setattr(transforms, "_MOST_CUT", np.inf)
    whole = load_image(image, transform)
    assert np.abs(part - whole).max() <= 1, "numbers of a row are rounded otherwise"
    assert (part == whole).mean() > 0.99
    np.testing.assert_array_equal(part_of_mask, load_mask(image // 200, transform, image=image))


def test_a_long_image_takes_little_memory(tmp_path):
    """Resized as a whole, its square of 96 would be one of 2,880,000×96."""
    path = save(tmp_path / "line.png", np.zeros((30_000, 1), np.uint8))
    code = (
        "from peak import peak_mb\n"
        "from hgad_jax.data.geometry import Transform\n"
        "from hgad_jax.data.transforms import load_image\n"
        "before = peak_mb()\n"
        f"assert load_image({path!r}, Transform(96, 'short_side_crop')).shape == (96, 96, 3)\n"
        "print(peak_mb() - before)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    megabytes = subprocess.check_output(
        [sys.executable, "-c", code], env=environment, text=True, stderr=subprocess.DEVNULL
    )
    assert float(megabytes) < 50


@pytest.mark.parametrize("resize", ["squash", "short_side_crop", "letterbox"])
def test_mask_goes_where_its_image_goes(resize):
    rng = np.random.default_rng(1)
    blocks = rng.random((5, 8)) < 0.5
    mask = np.kron(blocks, np.ones((20, 20))).astype(np.uint8)
    transform = Transform(64, resize=resize)
    seen = load_image(mask * 255, transform)[..., 0]
    found = load_mask(mask, transform, image=mask)
    certain = (seen < 20) | (seen > 235)  # off the edges
    assert certain.mean() > 0.5
    np.testing.assert_array_equal(found[certain], seen[certain] > 128)


def test_a_tile_is_a_part_of_the_working_square():
    transform = Transform(32, tiles=3, tile_overlap=0.5)
    image = skimage.data.coffee()[:200, :300]
    working = load_image(image, transform)
    assert working.shape == (64, 64, 3)
    tiles = [load_image(image, transform, tile=box) for box in tile_boxes(transform)]
    np.testing.assert_array_equal(tiles, cut(working, transform))
    np.testing.assert_array_equal(tiles[5], working[16:48, 32:64])


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("shape", [(90, 150), (151, 64)])
def test_in_detail_an_image_lies_where_it_lies_without(resize, shape):
    """Shrunk again by the mean, what is decoded in detail is what is decoded without, but for filters."""
    rng = np.random.default_rng(0)
    coarse = np.asarray(Image.fromarray(rng.integers(0, 255, (6, 9), np.uint8)).resize(shape[::-1]))
    plain = Transform(48, resize=resize, tiles=2)
    detailed = load(coarse, plain._replace(detail=3)).pixels
    side = plain.working_size
    assert detailed.shape == (3 * side, 3 * side, 3)
    shrunk = detailed.reshape(side, 3, side, 3, 3).mean((1, 3))
    expected = load(coarse, plain).pixels
    assert np.abs(shrunk - expected).mean() < 1.5
    tiles = cut(detailed, plain._replace(detail=3))
    for tile, box in zip(tiles, tile_boxes(plain), strict=True):
        rows = slice(3 * box.top, 3 * (box.top + box.height))
        np.testing.assert_array_equal(tile, detailed[rows, 3 * box.left : 3 * (box.left + box.width)])
        np.testing.assert_array_equal(load_image(coarse, plain._replace(detail=3), tile=box), tile)
    mask = coarse > 128
    np.testing.assert_array_equal(
        load_mask(mask, plain._replace(detail=3), image=coarse), load_mask(mask, plain, image=coarse)
    )
