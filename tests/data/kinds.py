"""Image files of every kind that users have, each with the pixels that it means, or why it is refused.

Files are made from known pixels by tifffile, imagecodecs or by hand, so that whatever reads them is compared
with arithmetic and not with itself. Lossy ones are decoded by imagecodecs.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 11, 17  # neither equal nor even
ORIENTATIONS = range(1, 9)
_MAX = {np.uint8: 255, np.uint16: 65535}


class Kind(NamedTuple):
    """A file and what it means.

    Attributes:
        row: of the table in docs/folders.md.
        name: of the file, with its suffix.
        content: the file.
        pixels: upright, black is 0, `[H, W]` or `[H, W, 3]`, uint8 or of its own type; None if it is refused.
        refused: a part of the message; "" if it is read.
        tolerance: greys that the pixels may differ by.
        transparent: alpha is 0 everywhere.
    """

    row: str
    name: str
    content: bytes
    pixels: np.ndarray | None
    refused: str = ""
    tolerance: int = 0
    transparent: bool = False


def kinds() -> Iterator[Kind]:
    """Every kind once, some hundred; turned by each orientation, and stored in many ways, elsewhere."""
    yield from pngs()
    yield from jpegs()
    yield from bmps()
    yield from tiffs()
    yield from others()


def noise(*shape: int, dtype=np.uint8, seed: int = 0, levels: int = 0) -> np.ndarray:
    """Random pixels over all values, or as many of them as `levels`."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape, dtype)
    info = np.iinfo(dtype)
    if levels:
        return rng.integers(0, levels, shape, dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What an image with this EXIF orientation shows when it is upright (CIPA DC-008, 4.6.5)."""
    if orientation >= 5:  # rows are stored as columns
        pixels = pixels.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def on_black(pixels: np.ndarray) -> np.ndarray:
    """Pixels whose last channel is alpha, on black, as RGB or grey."""
    most = _MAX[pixels.dtype.type]
    alpha = pixels[..., -1:].astype(np.float64) / most
    shown = np.floor(pixels[..., :-1] * alpha + 0.5).astype(pixels.dtype)
    return shown[..., 0] if shown.shape[-1] == 1 else shown


def without_inks(inks: np.ndarray) -> np.ndarray:
    """Light that is left by cyan, magenta, yellow and black."""
    light = 255 - inks.astype(np.float64)
    return np.floor(light[..., :3] * light[..., 3:] / 255 + 0.5).astype(np.uint8)


def smooth() -> np.ndarray:
    """An image that compression keeps, `[48, 64, 3]`."""
    y, x = np.mgrid[:48, :64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], -1).astype(np.uint8)


# PNG, by hand: other programs write every kind, but few libraries do.


def png(rows: list[bytes], width: int, depth: int, colour: int, *chunks: tuple[bytes, bytes], interlace=0):
    """A PNG file of rows that are packed already."""
    header = struct.pack(">IIBBBBB", width, HEIGHT, depth, colour, 0, 0, interlace)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def packed(row: np.ndarray, depth: int) -> bytes:
    """Values of a row in as few bits each, the first in the highest."""
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def plain_png(values: np.ndarray, depth: int, colour: int, *chunks) -> bytes:
    return png([packed(row, depth) for row in values], values.shape[1], depth, colour, *chunks)


def interlaced_png(values: np.ndarray, depth: int, colour: int) -> bytes:
    """In the seven passes of Adam7."""
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    rows = [packed(row, depth) for y, x, dy, dx in passes for row in values[y::dy, x::dx] if row.size]
    return png(rows, values.shape[1], depth, colour, interlace=1)


def exif(orientation: int) -> bytes:
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)


def pngs() -> Iterator[Kind]:
    size = (HEIGHT, WIDTH)
    for depth in (1, 2, 4):
        values = noise(*size, levels=2**depth)
        grey = values * (255 // (2**depth - 1))
        yield Kind("up to 8 bits", f"grey-{depth}.png", plain_png(values, depth, 0), grey)
    palette = noise(256, 3, seed=1)
    chunk = (b"PLTE", palette.tobytes())
    for depth in (1, 2, 4, 8):
        values = noise(*size, levels=2**depth)
        colours = (b"PLTE", palette[: 2**depth].tobytes())
        yield Kind("palette", f"palette-{depth}.png", plain_png(values, depth, 3, colours), palette[values])
    values, alpha = noise(*size), noise(256, seed=2)
    clear = plain_png(values, 8, 3, chunk, (b"tRNS", alpha.tobytes()))
    yield Kind(
        "alpha", "palette-alpha.png", clear, on_black(np.column_stack([palette, alpha])[values]), tolerance=1
    )
    for channels, colour in ((1, 0), (3, 2)):
        values = noise(*size, channels)
        pixels = values[..., 0] if channels == 1 else values
        yield Kind("up to 8 bits", f"{channels}-8.png", plain_png(values, 8, colour), pixels)
        yield Kind("up to 8 bits", f"{channels}-8-interlaced.png", interlaced_png(values, 8, colour), pixels)
        for name, top in (("10", 1023), ("12", 4095), ("16", 65535)):
            deep = noise(*size, channels, dtype=np.uint16) & top
            pixels = deep[..., 0] if channels == 1 else deep
            yield Kind("16 bits", f"{channels}-{name}-in-16.png", plain_png(deep, 16, colour), pixels)
            encoded = imagecodecs.png_encode(pixels, level=9)  # with filters
            yield Kind("16 bits", f"{channels}-{name}-in-16-filtered.png", encoded, pixels)
        yield Kind("16 bits", f"{channels}-16-interlaced.png", interlaced_png(deep, 16, colour), pixels)
    for channels, colour in ((2, 4), (4, 6)):
        values = noise(*size, channels)
        yield Kind("alpha", f"{channels}-8.png", plain_png(values, 8, colour), on_black(values), tolerance=1)
        deep = noise(*size, channels, dtype=np.uint16)
        yield Kind("alpha", f"{channels}-16.png", plain_png(deep, 16, colour), on_black(deep), tolerance=1)
        for depth, pixels in ((8, values.copy()), (16, deep.copy())):
            pixels[..., -1] = 2**depth - 1
            shown = pixels[..., 0] if channels == 2 else pixels[..., :3]
            yield Kind("alpha", f"{channels}-{depth}-opaque.png", plain_png(pixels, depth, colour), shown)
            pixels = pixels.copy()
            pixels[..., -1] = 0
            content = plain_png(pixels, depth, colour)
            yield Kind(
                "transparent everywhere", f"{channels}-{depth}-clear.png", content, shown, transparent=True
            )
    key = (b"tRNS", struct.pack(">HHH", 1, 2, 3))
    values[..., :3][::2] = 1, 2, 3
    shown = np.where((values[..., :3] == (1, 2, 3)).all(-1, keepdims=True), 0, values[..., :3])
    yield Kind("alpha", "colour-key.png", plain_png(values[..., :3], 8, 2, key), shown)
    refused = "16-bit pixels and a transparent colour"
    deep_key = plain_png(deep[..., :3], 16, 2, key)
    yield Kind("16 bits with a transparent colour (png)", "colour-key-16.png", deep_key, None, refused)
    frames = [Image.fromarray(noise(*size, seed=seed)) for seed in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    yield Kind(
        "several images in one file", "animated.png", out.getvalue(), None, "PNG file of several images"
    )


# JPEG


def jpegs() -> Iterator[Kind]:
    colours = smooth()
    for name, pixels, options in (
        ("grey", colours[..., 0].copy(), {}),
        ("rgb-444", colours, {"subsampling": "444"}),
        ("rgb-420", colours, {"subsampling": "420"}),
    ):
        content = imagecodecs.jpeg8_encode(pixels, level=90, **options)
        yield Kind("up to 8 bits", f"{name}.jpg", content, imagecodecs.jpeg8_decode(content), tolerance=1)
    yield Kind("up to 8 bits", "rgb.jfif", content, imagecodecs.jpeg8_decode(content), tolerance=1)
    out = io.BytesIO()
    Image.fromarray(colours).save(out, "JPEG", progressive=True)
    yield Kind(
        "up to 8 bits", "progressive.jpg", out.getvalue(), imagecodecs.jpeg8_decode(out.getvalue()), "", 1
    )
    out = io.BytesIO()
    Image.fromarray(colours).save(out, "MPO", save_all=True, append_images=[Image.fromarray(colours[::-1])])
    main = imagecodecs.jpeg8_decode(out.getvalue())
    yield Kind("JPEG with a preview or gain map (MPO)", "preview.jpg", out.getvalue(), main, tolerance=1)
    inks = np.dstack([colours, np.full((48, 64), 30, np.uint8)])
    out = io.BytesIO()
    Image.fromarray(inks, "CMYK").save(out, "JPEG", quality=100)
    yield Kind("CMYK", "cmyk.jpg", out.getvalue(), without_inks(inks), tolerance=9)
    start = out.getvalue().index(b"Adobe") - 4
    length = 2 + struct.unpack(">H", out.getvalue()[start + 2 : start + 4])[0]
    bare = out.getvalue()[:start] + out.getvalue()[start + length :]
    yield Kind("CMYK without Adobe's marker (jpg)", "cmyk-bare.jpg", bare, None, "no Adobe marker")


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    body = b"Exif\0\0" + exif(orientation)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(body)) + body + jpeg[2:]


# BMP, by hand


def bmp(rows: list[bytes], depth: int, *, masks=(), palette=b"", compression=0, top_down=False) -> bytes:
    """A BMP file of rows, from the top; with masks of red, green, blue and alpha, of version 4."""
    body = b"".join(row + b"\0" * (-len(row) % 4) for row in (rows if top_down else rows[::-1]))
    size, height = (108 if masks else 40), (-HEIGHT if top_down else HEIGHT)
    colours = len(palette) // 4
    header = struct.pack(
        "<IiiHHIIiiII", size, WIDTH, height, 1, depth, compression, len(body), 0, 0, colours, 0
    )
    header += b"".join(struct.pack("<I", mask) for mask in masks)
    header = header.ljust(size, b"\0") + palette
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(body), 0, 0, 14 + len(header)) + header + body


def bmps() -> Iterator[Kind]:
    size, colours, clear = (HEIGHT, WIDTH), noise(256, 3, seed=1), np.zeros((256, 1), np.uint8)
    for depth in (1, 4, 8):
        values, palette = noise(*size, levels=2**depth), colours[: 2**depth]
        stored = np.hstack([palette[:, ::-1], clear[: 2**depth]]).tobytes()
        content = bmp([packed(row, depth) for row in values], depth, palette=stored)
        yield Kind("palette", f"palette-{depth}.bmp", content, palette[values])
        grey = np.arange(2**depth, dtype=np.uint8) * (255 // (2**depth - 1))
        stored = np.hstack([grey[:, None]] * 3 + [clear[: 2**depth]]).tobytes()
        content = bmp([packed(row, depth) for row in values], depth, palette=stored)
        yield Kind("up to 8 bits", f"grey-{depth}.bmp", content, grey[values])
    one = [b"".join(bytes([WIDTH, value, 0, 0]) for value in range(HEIGHT))]  # a run and its end, row by row
    content = bmp(one, 8, palette=stored, compression=1)
    yield Kind("compressed by runs (bmp)", "runs.bmp", content, None, "BMP file compressed by runs")
    rgb = noise(*size, 3)
    rows = [row[:, ::-1].tobytes() for row in rgb]
    yield Kind("up to 8 bits", "rgb.bmp", bmp(rows, 24), rgb)
    yield Kind("up to 8 bits", "top-down.bmp", bmp(rows, 24, top_down=True), rgb)
    unused = [np.hstack([row[:, ::-1], clear[:WIDTH]]).tobytes() for row in rgb]
    yield Kind("up to 8 bits", "rgb-32.bmp", bmp(unused, 32), rgb)
    five = noise(*size, 3, levels=32)
    words = [(row.astype("<u2") @ np.array([1024, 32, 1], "<u2")).astype("<u2").tobytes() for row in five]
    yield Kind(
        "up to 8 bits", "rgb-555.bmp", bmp(words, 16), (five.astype(int) * 255 // 31).astype(np.uint8), "", 1
    )
    rgba = noise(*size, 4)
    for name, alpha, transparent in (
        ("rgba", rgba[..., 3], False),
        ("rgba-clear", np.zeros(size, np.uint8), True),
    ):
        values = np.dstack([rgba[..., :3], alpha])
        rows = [row[:, [2, 1, 0, 3]].tobytes() for row in values]
        content = bmp(rows, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), compression=3)
        row = "transparent everywhere" if transparent else "alpha"
        shown = values[..., :3] if transparent else on_black(values)
        yield Kind(row, f"{name}.bmp", content, shown, "", 1, transparent)


# TIFF


def tiff(values: np.ndarray, photometric: str = "minisblack", *, orientation: int = 1, **options) -> bytes:
    out = io.BytesIO()
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(out, values, photometric=photometric, metadata=None, extratags=tags, **options)
    return out.getvalue()


def tiffs() -> Iterator[Kind]:
    """Each kind of pixels once."""
    for row, name, values, photometric, options, pixels, tolerance in tiff_pixels():
        yield Kind(row, f"{name}.tif", tiff(values, photometric, **options), pixels, tolerance=tolerance)
    yield from odd_tiffs()


class TiffPixels(NamedTuple):
    row: str
    name: str
    values: np.ndarray  # as they are stored
    photometric: str
    options: dict
    pixels: np.ndarray  # as they are meant
    tolerance: int = 0


def tiff_pixels() -> Iterator[TiffPixels]:
    """Pixels that may be stored in any way: compressed or not, in strips or tiles, either byte first."""
    size = (HEIGHT, WIDTH)
    bits = noise(*size, levels=2).astype(bool)
    grey, deep, colour = noise(*size), noise(*size, dtype=np.uint16), noise(*size, 3)
    yield TiffPixels("up to 8 bits", "bits", bits, "minisblack", {}, bits * np.uint8(255))
    yield TiffPixels("0 for white (tif)", "bits-white", bits, "miniswhite", {}, ~bits * np.uint8(255))
    yield TiffPixels("up to 8 bits", "grey", grey, "minisblack", {}, grey)
    yield TiffPixels("0 for white (tif)", "grey-white", grey, "miniswhite", {}, 255 - grey)
    yield TiffPixels("16 bits", "deep", deep, "minisblack", {}, deep)
    yield TiffPixels("16 bits", "deep-12", deep & 4095, "minisblack", {}, deep & 4095)
    yield TiffPixels("up to 8 bits", "rgb", colour, "rgb", {}, colour)
    deep_colour = noise(*size, 3, dtype=np.uint16)
    yield TiffPixels("16 bits", "rgb-16", deep_colour, "rgb", {}, deep_colour)
    palette = noise(3, 256, dtype=np.uint16)
    yield TiffPixels(
        "palette",
        "palette",
        grey,
        "palette",
        {"colormap": palette},
        (palette.T[grey] // 256).astype(np.uint8),
    )
    inks = noise(*size, 4)
    yield TiffPixels("CMYK", "cmyk", inks, "separated", {}, without_inks(inks))
    for dtype in (np.uint8, np.uint16):
        rgba = noise(*size, 4, dtype=dtype)
        name = f"rgba-{8 * rgba.itemsize}"
        yield TiffPixels("alpha", name, rgba, "rgb", {"extrasamples": ["unassalpha"]}, on_black(rgba), 1)
        if dtype == np.uint8:
            rest = {"extrasamples": ["unspecified"]}
            yield TiffPixels("alpha", f"{name}-unspecified", rgba, "rgb", rest, rgba[..., :3])
        rgba = rgba.copy()
        rgba[..., :3] = on_black(rgba)
        yield TiffPixels(
            "alpha", f"{name}-premultiplied", rgba, "rgb", {"extrasamples": ["assocalpha"]}, rgba[..., :3], 2
        )
    grey_alpha = noise(*size, 2)
    yield TiffPixels(
        "alpha",
        "grey-alpha",
        grey_alpha,
        "minisblack",
        {"extrasamples": ["unassalpha"]},
        on_black(grey_alpha),
        1,
    )


def stored_tiffs(pixels: TiffPixels) -> Iterator[Kind]:
    """Pixels turned by each orientation, with each compression, either byte first, in strips or tiles."""
    layouts = ({}, {"rowsperstrip": 4}, {"tile": (16, 16)})
    ways = itertools.product(ORIENTATIONS, (None, "lzw", "deflate", "packbits"), "<>")
    for (orientation, compression, order), layout in zip(ways, itertools.cycle(layouts), strict=False):
        options = {**pixels.options, **layout, "compression": compression, "byteorder": order}
        if compression in ("lzw", "deflate") and orientation % 2 and pixels.values.dtype != bool:
            options["predictor"] = True
        content = tiff(pixels.values, pixels.photometric, orientation=orientation, **options)
        name = f"{pixels.name}-{orientation}-{compression}-{order}-{'-'.join(layout)}.tif"
        yield Kind(pixels.row, name, content, turned(pixels.pixels, orientation), tolerance=pixels.tolerance)


def odd_tiffs() -> Iterator[Kind]:
    size, colours = (HEIGHT, WIDTH), smooth()
    grey, deep = noise(*size), noise(*size, dtype=np.uint16)
    white = tiff(deep, "miniswhite")
    yield Kind("0 for white (tif)", "deep-white.tif", white, 65535 - deep)
    for photometric, row in (("rgb", "JPEG within TIFF"), ("ycbcr", "JPEG within TIFF")):
        content = tiff(colours, photometric, compression="jpeg")
        yield Kind(row, f"jpeg-{photometric}.tif", content, tifffile.imread(io.BytesIO(content)), tolerance=1)
    content = tiff(colours[..., 0], compression="jpeg")
    yield Kind("JPEG within TIFF", "jpeg-grey.tif", content, colours[..., 0], tolerance=6)
    planes = {"planarconfig": "separate"}
    rgb = noise(*size, 3)
    yield Kind(
        "RGB of 8 bits plane by plane (tif)", "planes.tif", tiff(np.moveaxis(rgb, 2, 0), "rgb", **planes), rgb
    )
    for compression in (None, "deflate"):
        deep_planes = tiff(noise(3, *size, dtype=np.uint16), "rgb", compression=compression, **planes)
        row, refused = "other planes (tif)", "stored plane by plane"
        yield Kind(row, f"planes-16-{compression}.tif", deep_planes, None, refused)
        alpha = tiff(noise(2, *size), compression=compression, extrasamples=["unassalpha"], **planes)
        yield Kind(row, f"planes-alpha-{compression}.tif", alpha, None, refused)
    for dtype in (np.int16, np.uint32, np.int32, np.float32):
        values = noise(*size, dtype=dtype)
        yield Kind("signed, 32 bits, float", f"{values.dtype}.tif", tiff(values), values)
        if values.dtype != np.uint32:
            name, content = f"{values.dtype}-big.tif", tiff(values, byteorder=">")
            yield Kind("signed, 32 bits, float", name, content, values)
            refused = "compressed pixels of high byte first"
            content = tiff(values, byteorder=">", compression="deflate")
            yield Kind(
                "signed, 32 bits, float, compressed, high byte first (tif)",
                f"z{name}",
                content,
                None,
                refused,
            )
    refused = "cannot be read as an image"
    yield Kind("64 bits (tif)", "float64.tif", tiff(noise(*size, dtype=np.float64)), None, refused)
    yield Kind(
        "signed pixels of 8 bits (tif)", "int8.tif", tiff(grey.view(np.int8)), None, "signed pixels of 8 bits"
    )
    row = "CIELab, raw sensors and other colours (tif)"
    yield Kind(row, "lab.tif", tiff(rgb, "cielab"), None, "pixels of CIELab")
    yield Kind(row, "cfa.tif", tiff(grey, "cfa"), None, "cannot be read|raw sensor")
    yield Kind(
        "YCbCr without JPEG (tif)", "ycbcr.tif", tiff(colours, "ycbcr"), None, "YCbCr pixels that are not"
    )
    pages = io.BytesIO()
    tifffile.imwrite(pages, noise(20, *size), photometric="minisblack")
    yield Kind(
        "several images in one file", "pages.tif", pages.getvalue(), None, "TIFF file of several images"
    )
    big = io.BytesIO()
    tifffile.imwrite(big, grey, photometric="minisblack", bigtiff=True)
    yield Kind("up to 8 bits", "big.tif", big.getvalue(), grey)
    clear = noise(*size, 4)
    clear[..., 3] = 0
    content = tiff(clear, "rgb", extrasamples=["unassalpha"])
    yield Kind("transparent everywhere", "clear.tif", content, clear[..., :3], transparent=True)


# WebP, GIF, and what is no image of ours


def others() -> Iterator[Kind]:
    rgb, colours = noise(HEIGHT, WIDTH, 3), smooth()
    yield Kind("WebP", "lossless.webp", imagecodecs.webp_encode(rgb, lossless=True), rgb)
    content = imagecodecs.webp_encode(colours, level=90, lossless=False)
    yield Kind("WebP", "lossy.webp", content, imagecodecs.webp_decode(content), tolerance=2)
    frames = [Image.fromarray(noise(HEIGHT, WIDTH, seed=seed)) for seed in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    refused = "WEBP file of several images"
    yield Kind("several images in one file", "animated.webp", out.getvalue(), None, refused)
    row, grey = "files of other kinds", Image.fromarray(noise(HEIGHT, WIDTH))
    for name, kind in (("GIF", "GIF"), ("PNM", "PPM"), ("JPEG 2000", "JPEG2000")):
        out = io.BytesIO()
        grey.save(out, kind)
        yield Kind(
            row,
            f"image.{kind.lower()}",
            out.getvalue(),
            None,
            f"cannot be read as an image: it is a {name} file",
        )
    out = io.BytesIO()
    grey.save(out, "TGA")
    refused = "no image by its content"
    yield Kind(row, "image.tga", out.getvalue(), None, refused)
    yield Kind(row, "text.png", b"no image", None, refused)
    turn, values = "turned by its EXIF or TIFF orientation", noise(HEIGHT, WIDTH)
    yield Kind(turn, "turned.png", plain_png(values, 8, 0, (b"eXIf", exif(6))), turned(values, 6))
    yield Kind(turn, "turned.tif", tiff(values, orientation=8), turned(values, 8))
    yield Kind(row, "empty.png", b"", None, "it is empty")
    yield Kind(
        "another suffix than its kind's",
        "jpeg.png",
        imagecodecs.jpeg8_encode(rgb),
        None,
        "suffix .png is wrong",
    )
