"""Every kind of image file is read right, pixel by pixel, or refused by name, by all that reads images."""

import io
import pathlib
import re

import jax.numpy as jnp
import numpy as np
import pytest
from kinds import (
    ORIENTATIONS,
    Kind,
    bmp,
    exif,
    jpegs,
    kinds,
    noise,
    plain_png,
    smooth,
    stored_tiffs,
    tiff,
    tiff_pixels,
    turned,
    with_exif,
)
from PIL import Image

from hgad_jax.data import on_black, records
from hgad_jax.data.datasets.place import Source, Stored
from hgad_jax.data.decode import decode, image_size
from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import Record
from hgad_jax.data.screen import inspect
from hgad_jax.data.transforms import load, load_image, load_mask, load_whole_mask
from hgad_jax.errors import UserError

ALL = {kind.name: kind for kind in kinds()}
READ = {name: kind for name, kind in ALL.items() if not kind.refused}
REFUSED = {name: kind for name, kind in ALL.items() if kind.refused}
# Of every kind of pixels, one: to compare ways of giving an image.
SOME = ["3-8.png", "3-16-interlaced.png", "2-16.png", "rgb-420.jpg", "rgba.bmp", "deep.tif", "deep-white.tif"]
SOME += ["rgb-16.tif", "clear.tif", "palette.tif", "float32.tif", "uint32.tif", "lossy.webp"]
RANGE = Transform(16, value_range=(-(2.0**31), 2.0**32))


def written(tmp_path, kind: Kind) -> str:
    path = tmp_path / kind.name
    path.write_bytes(kind.content)
    return str(path)


def check(image, kind: Kind):
    """The image is decoded to what the kind means."""
    decoded = decode(image)
    found = np.asarray(decoded.pixels)
    if found.ndim == 3 > kind.pixels.ndim:  # grey as three equal channels
        assert (found == found[..., :1]).all()
        found = found[..., 0]
    assert found.dtype == kind.pixels.dtype, kind.name
    np.testing.assert_allclose(
        found.astype(np.float64), kind.pixels, rtol=0, atol=kind.tolerance, err_msg=kind.name
    )
    assert decoded.transparent == kind.transparent
    assert decoded.size == image_size(image) == kind.pixels.shape[:2]


def said(function, *args, **options) -> str:
    with pytest.raises(UserError) as error:
        function(*args, **options)
    return str(error.value)


@pytest.mark.parametrize("name", READ)
def test_a_file_means_what_another_reader_or_arithmetic_says(tmp_path, name):
    check(written(tmp_path, ALL[name]), ALL[name])


@pytest.mark.parametrize("pixels", [*tiff_pixels()], ids=lambda pixels: pixels.name)
def test_a_tiff_file_means_the_same_however_it_is_turned_and_stored(tmp_path, pixels):
    for kind in stored_tiffs(pixels):
        check(written(tmp_path, kind), kind)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_other_files_are_turned_too(tmp_path, orientation):
    chunk = (b"eXIf", exif(orientation))
    grey, deep, rgb = noise(11, 17), noise(11, 17, dtype=np.uint16), noise(11, 17, 3, dtype=np.uint16)
    for name, content, pixels in (
        ("grey.png", plain_png(grey, 8, 0, chunk), grey),
        ("deep.png", plain_png(deep, 16, 0, chunk), deep),
        ("deep-rgb.png", plain_png(rgb, 16, 2, chunk), rgb),
    ):
        kind = Kind("", name, content, turned(pixels, orientation))
        check(written(tmp_path, kind), kind)
    jpeg = next(kind for kind in jpegs() if kind.name == "rgb-444.jpg")
    kind = jpeg._replace(
        content=with_exif(jpeg.content, orientation), pixels=turned(jpeg.pixels, orientation)
    )
    check(written(tmp_path, kind), kind)
    out = io.BytesIO()
    Image.fromarray(smooth()).save(out, "WEBP", lossless=True, exif=b"Exif\0\0" + exif(orientation))
    kind = Kind("", "a.webp", out.getvalue(), turned(smooth(), orientation))
    check(written(tmp_path, kind), kind)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_refused_by_all_with_one_sentence(tmp_path, name):
    path = written(tmp_path, ALL[name])
    sound = written(tmp_path, ALL["3-8.png"]._replace(name="sound.png"))
    message = said(decode, path)
    assert f"'{path}' " in message
    assert re.search(ALL[name].refused, message), message
    assert re.search(r"Replace it|Save it|Rename it|Convert it|Write each", message), "what to do"
    assert said(image_size, path) == message
    assert said(load, path, Transform(8)) == message
    assert said(load_image, path, Transform(8)) == message
    assert said(load_mask, path, Transform(8), image=sound) == message
    assert said(load_whole_mask, path, image=sound) == message
    assert inspect(Record(path, "a", "train", "good"), Transform(8)).error == message
    assert inspect(Record(sound, "a", "test", "b", path), Transform(8)).error == message
    content = io.BytesIO(ALL[name].content)
    if "suffix" not in message:  # of which a file without a name has none
        assert said(decode, content) == message.replace(f"'{path}'", "The image given")


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_read_by_all(tmp_path, name):
    kind = ALL[name]
    path = written(tmp_path, kind)
    found = inspect(Record(path, "a", "test", "b", path), RANGE)
    assert found.error == ""
    assert found.size == kind.pixels.shape[:2]
    assert found.transparent == kind.transparent
    assert found.highest == (int(kind.pixels.max()) if kind.pixels.dtype == np.uint16 else -1)
    loaded = load(path, RANGE)
    assert loaded.size == found.size
    np.testing.assert_array_equal(load_image(path, RANGE), loaded.pixels)
    values = kind.pixels if kind.pixels.ndim == 2 else kind.pixels.max(2)
    if kind.name.endswith((".jpg", ".jfif")) or "jpeg" in name or "lossy" in name:
        assert decode(path).lossy
    elif kind.tolerance:  # rounding may make a 1 a 0
        certain = (values == 0) | (values > kind.tolerance)
        np.testing.assert_array_equal(load_whole_mask(path, image=path)[certain], (values != 0)[certain])
    else:
        np.testing.assert_array_equal(load_whole_mask(path, image=path), values != 0)


def test_traces_of_any_lossy_compression_are_no_defects(tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    mask[9:30, 5:40] = 255
    files = {"a.tif": tiff(mask, compression="jpeg", compressionargs={"level": 60})}
    for name, options in (("a.webp", {"quality": 40}), ("b.jpg", {"quality": 60})):
        out = io.BytesIO()
        Image.fromarray(mask).convert("RGB").save(out, "WEBP" if "webp" in name else "JPEG", **options)
        files[name] = out.getvalue()
    for name, content in files.items():
        path = written(tmp_path, Kind("", name, content, mask))
        traces = np.asarray(decode(path).pixels)
        assert ((traces != 0) != (np.atleast_3d(mask) != 0 if traces.ndim == 3 else mask != 0)).any(), name
        np.testing.assert_array_equal(load_whole_mask(path, image=path), mask > 0, err_msg=name)


@pytest.mark.parametrize("name", SOME)
def test_a_file_is_the_same_however_it_is_given(tmp_path, monkeypatch, name):
    kind = ALL[name]
    path = written(tmp_path, kind)
    check(pathlib.Path(path), kind)
    content = io.BytesIO(kind.content)
    content.seek(7)
    check(content, kind)
    assert content.tell() == 7
    with open(path, "rb") as file, open(path, "rb", buffering=0) as raw:
        check(file, kind)
        check(raw, kind)
    for source in (path, io.BytesIO(kind.content)):
        with Image.open(source) as unread:
            check(unread, kind)
            assert unread.getpixel((0, 0)) is not None, "it is still open"
    monkeypatch.setattr(records, "read_image_file", lambda image: kind.content)
    check(Stored(Source("", "train", ""), 0, "image", "data/0.tif"), kind)


def test_a_stream_that_cannot_go_back_is_read_once():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *args):
            raise io.UnsupportedOperation

    kind = ALL["3-8.png"]
    np.testing.assert_array_equal(load(Pipe(kind.content), Transform(8)).size, kind.pixels.shape[:2])


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray, np.asfortranarray])
def test_arrays(convert):
    for pixels in (
        noise(11, 17),
        noise(11, 17, 3),
        noise(11, 17, dtype=np.uint16),
        noise(5, 3, 3, dtype=np.uint16),
    ):
        np.testing.assert_array_equal(np.asarray(decode(convert(pixels)).pixels), pixels)
        np.testing.assert_array_equal(
            load_whole_mask(convert(pixels), image=pixels), np.atleast_3d(pixels).any(2)
        )
    one = noise(11, 17, 1)
    np.testing.assert_array_equal(np.asarray(decode(convert(one)).pixels), one[..., 0])
    for dtype in (np.uint8, np.uint16):
        clear = noise(11, 17, 4, dtype=dtype)
        clear[..., 3] = 0
        assert decode(convert(clear)).transparent
        np.testing.assert_array_equal(np.asarray(decode(convert(clear)).pixels), clear[..., :3])
    bits = noise(11, 17, levels=2).astype(bool)
    np.testing.assert_array_equal(np.asarray(decode(convert(bits)).pixels), 255 * bits)
    assert decode(convert(noise(11, 17, dtype=np.float32))).pixels.dtype == np.float32


def test_what_is_no_image_is_named_by_its_type():
    for image in ([[0, 255]], (1, 2), 3, None, b"\x89PNG", {"image": 1}):
        message = said(load_image, image, Transform(8))
        assert f"is a {type(image).__name__}, expected a path" in message, image
    for array in (
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(3),
        np.zeros((2, 2), "U1"),
    ):
        assert re.search(
            r"an array of .* \[.*expected uint8 or uint16", said(load_image, array, Transform(8))
        )
    assert "with alpha" in said(load_image, np.zeros((4, 4, 4), np.float32), RANGE)
    assert "lacks" not in said(load_image, jnp.zeros((4, 4), jnp.bfloat16), RANGE)


def test_a_pillow_image_that_was_worked_on_is_taken_as_it_is():
    kind = ALL["3-8.png"]
    with Image.open(io.BytesIO(kind.content)) as image:
        image.putpixel((3, 2), (1, 2, 3))
        assert np.asarray(decode(image).pixels)[2, 3].tolist() == [1, 2, 3]
    pages = Image.open(io.BytesIO(ALL["pages.tif"].content))
    assert "several images" in said(decode, pages)
    pages.seek(2)
    assert decode(pages).size == kind.pixels.shape[:2], "the page that was chosen"
    animation = Image.open(io.BytesIO(ALL["animated.webp"].content))
    assert "has several frames, expected one" in said(decode, animation)
    assert decode(animation.copy()).size == kind.pixels.shape[:2]
    with_preview = Image.open(io.BytesIO(ALL["preview.jpg"].content))
    with_preview.load()
    assert decode(with_preview).size == (48, 64)
    rgb = Image.fromarray(noise(11, 17, 3))
    for mode in ("1", "L", "LA", "P", "CMYK", "HSV", "YCbCr", "RGBA", "RGBX", "La", "RGBa"):
        image = (
            rgb.convert("LA").convert("La")
            if mode == "La"
            else rgb.convert(mode.replace("a", "A")).convert(mode)
        )
        assert decode(image).size == (11, 17), mode
    assert "cannot be read as an image" in said(decode, Image.new("LAB", (3, 3)))


def test_a_file_in_the_middle_of_which_strips_are_lacking_is_refused():
    content = tiff(noise(11, 17), rowsperstrip=4)
    assert decode(io.BytesIO(content)).size == (11, 17)
    at = content.index(b"\x11\x01\x04\0\x03\0\0\0")  # StripOffsets: three
    fewer = content[: at + 4] + b"\x02" + content[at + 5 :]
    assert "parts of its image lacking" in said(decode, io.BytesIO(fewer))


def test_large_images_are_shown_on_black_strip_by_strip(monkeypatch):
    monkeypatch.setattr(on_black, "_STRIP", 30)  # pixels: a row or two
    for name in (
        "2-8.png",
        "4-8.png",
        "4-16.png",
        "3-16-interlaced.png",
        "4-8-clear.png",
        "palette-alpha.png",
    ):
        check(io.BytesIO(ALL[name].content), ALL[name])


def test_more_pixels_than_the_limit_are_refused_by_all(tmp_path):
    path = written(tmp_path, ALL["3-8.png"])
    few = Transform(8, max_pixels=11 * 17 - 1)
    message = said(load_image, path, few)
    assert re.search(
        r"'.*' is too large.*17×11 pixels.*max_pixels is 186.*--config\.data\.max_pixels=187", message
    )
    assert said(load_mask, path, few, image=noise(11, 17)) == message
    assert inspect(Record(path, "a", "train", "good"), few).error == message
    load_image(path, few._replace(max_pixels=11 * 17))


@pytest.mark.parametrize("name", ["3-8.png", "grey.tif", "rgb.bmp", "lossless.webp", "rgb-444.jpg"])
def test_pillows_own_limit_is_not_in_the_way(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    check(written(tmp_path, ALL[name]), ALL[name])
    assert Image.MAX_IMAGE_PIXELS == 100_000_000, "it is raised, never lowered"


def test_suffixes_in_capitals(tmp_path):
    path = tmp_path / "A.PNG"
    path.write_bytes(ALL["3-8.png"].content)
    assert image_size(path) == (11, 17)
    other = tmp_path / "A.JPEG"
    other.write_bytes(ALL["3-8.png"].content)
    assert "is a PNG file by its content but not by its name: the suffix .JPEG is wrong" in said(
        decode, other
    )
    unknown = tmp_path / "image.dat"
    unknown.write_bytes(bmp([bytes(17)] * 11, 8, palette=bytes(4 * 256)))
    assert image_size(unknown) == (11, 17)
