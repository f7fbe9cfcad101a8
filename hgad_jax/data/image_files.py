"""Opens image files of the kinds that are known to be read right; all others are refused by name.

Pillow decodes. Some kinds of files it reads wrongly without a word: what agrees with another reader (tests
compare them) is let through, what does not is refused here or in `tiff`. Only headers are read here.
"""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from hgad_jax.data.geometry import MAX_PIXELS
from hgad_jax.data.signatures import LENGTH, SUFFIXES, format_of
from hgad_jax.data.tiff import tiff_problem
from hgad_jax.errors import UserError

# Pillow's readers. `Image.open` would try all that Pillow has; and, given a file's name, map uncompressed
# files into memory in a way that scrambles turned ones.
_READERS: dict[str, type[ImageFile.ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,  # of an MPO file, a JPEG with previews or a gain map behind it, the main picture
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
READ = (*(reader.format for reader in _READERS.values()), "MPO")  # Pillow's names
_BMP_RUNS = (1, 2)  # of a byte and of half a byte; what is cut short would be read as black, and slowly


class TooManyPixels(UserError):
    """An image of more pixels than are decoded; `size` is its height and width."""

    def __init__(self, message: str, size: tuple[int, int]):
        super().__init__(message)
        self.size = size


def open_file(
    file: BinaryIO, name: str, *, suffix: str = "", max_pixels: int = MAX_PIXELS
) -> ImageFile.ImageFile:
    """Open an image file by its content; its pixels are not decoded yet.

    Args:
        file: at its start, seekable; to be left open as long as the image is used.
        name: for messages.
        suffix: of the file's name: it must not be that of another kind.
        max_pixels: more are refused.

    Raises:
        UserError: it is damaged, too large (`TooManyPixels`), or of a kind that is not read.
    """
    head = file.read(LENGTH)
    file.seek(0)
    kind = format_of(head)
    if kind not in _READERS:
        found = f"it is a {kind} file" if kind else "it is no image by its content" if head else "it is empty"
        raise _unreadable(name, found)
    reader, suffixes = _READERS[kind], SUFFIXES[kind]
    if suffix.lower() in {s for others in SUFFIXES.values() for s in others}.difference(suffixes):
        raise UserError(
            f"{name} is a {reader.format} file by its content but not by its name: the suffix {suffix} is "
            "wrong. Rename it, or save it again."
        )
    # Pillow compares some images with a limit of its own, which must not be below the one asked for.
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    with damage_named(name):
        opened = reader(file)
        several = getattr(opened, "is_animated", False)
        problem = _problem(opened)
    width, height = opened.size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"{name} is too large to be decoded safely: {width}×{height} pixels, and config.data.max_pixels "
            f"is {max_pixels}. Make it smaller, cut it into several images or, if it is sound and there is "
            f"memory for it, train with --config.data.max_pixels={width * height}",
            (height, width),
        )
    if several:
        raise UserError(
            f"{name} is a {reader.format} file of several images, expected one. Write each to a file of its "
            "own, with 'magick FILE -coalesce image-%03d.png' for example."
        )
    if problem:
        raise UserError(f"{name} {problem}")
    return opened


@contextlib.contextmanager
def damage_named(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises about a file into an error that names it; damage has many types.

    Raises:
        UserError: with the file's name.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(name, " ".join(str(error).split()) or type(error).__name__) from error


def raw_mode(opened: ImageFile.ImageFile) -> str:
    """How a file stores its pixels, in Pillow's terms, such as "RGB;16B"; "" if it does not say."""
    args = opened.tile[0].args if opened.tile else None
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def is_lossy(opened: Image.Image) -> bool:
    """Whether a file is compressed so that traces are left round edges."""
    if isinstance(opened, TiffImageFile):
        return opened.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    if isinstance(opened, WebPImageFile):
        assert opened.fp is not None  # still open
        opened.fp.seek(0)
        return b"VP8 " in _chunks(opened.fp.read())
    return opened.format in ("JPEG", "MPO")


def _chunks(webp: bytes) -> list[bytes]:
    """Names of the parts of a WebP file."""
    names, start = [], 12
    while start + 8 <= len(webp):
        names.append(webp[start : start + 4])
        length = int.from_bytes(webp[start + 4 : start + 8], "little")
        start += 8 + length + length % 2
    return names


def _problem(opened: ImageFile.ImageFile) -> str:
    """What would not be read right and how to mend it; "" if nothing."""
    if isinstance(opened, TiffImageFile):
        return tiff_problem(opened)
    if isinstance(opened, PngImageFile) and ";16" in raw_mode(opened) and "transparency" in opened.info:
        return "has 16-bit pixels and a transparent colour, which is not read. Save it without transparency."
    if isinstance(opened, JpegImageFile) and opened.mode == "CMYK" and "adobe" not in opened.info:
        return "is a CMYK file that does not say how inks are stored (no Adobe marker). Convert it to RGB."
    if isinstance(opened, BmpImageFile) and opened.info["compression"] in _BMP_RUNS:
        return "is a BMP file compressed by runs (RLE), which is not read. Save it as png."
    return ""


def _unreadable(name: str, reason: str) -> UserError:
    return UserError(
        f"{name} cannot be read as an image: {reason}. Replace it by a whole image (png, jpg, bmp or tif; "
        "grey or RGB; 8 or 16 bits) or take it away."
    )
