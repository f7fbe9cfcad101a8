"""Decodes an image, wherever it comes from: upright, grey or RGB, as deep as it is, shown on black."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hgad_jax.data import tiff
from hgad_jax.data.datasets.place import Stored
from hgad_jax.data.geometry import MAX_PIXELS
from hgad_jax.data.image_files import READ, damage_named, is_lossy, open_file, raw_mode
from hgad_jax.data.on_black import deep_on_black, on_black, strips
from hgad_jax.data.records import ImageFile as RecordedFile
from hgad_jax.data.records import image_name, open_image_file
from hgad_jax.errors import UserError

# Arrays are NumPy's and whatever NumPy makes one of, such as JAX's.
ImageLike = RecordedFile | os.PathLike | BinaryIO | Image.Image | np.ndarray | Any

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF orientation
_SIDEWAYS = (5, 6, 7, 8)  # those that swap width and height


class Decoded(NamedTuple):
    """An upright image.

    Attributes:
        pixels: a Pillow image "L" or "RGB" where it has 8 bits, else an array `[H, W]` or `[H, W, 3]`,
            uint16 or of a type whose range is unknown.
        mode: how it is stored, in Pillow's terms, such as "RGB" or "RGB;16".
        lossy: whether its compression leaves traces round edges.
        transparent: whether it is transparent everywhere, so that its colours are shown as if it were not.
    """

    pixels: Image.Image | np.ndarray
    mode: str
    lossy: bool = False
    transparent: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        if isinstance(self.pixels, Image.Image):
            return _turned(self.pixels.size)
        height, width = self.pixels.shape[:2]
        return height, width


def decode(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode all of an image.

    Args:
        image: a file of a kind that is `READ`, by path, open for reading, or inside a prepared dataset; a
            Pillow image; an array `[H, W]`, `[H, W, 1]`, `[H, W, 3]` or `[H, W, 4]`.
        max_pixels: files of more are refused.

    Raises:
        UserError: it is missing, damaged, too large, of a kind that is not read, or no image.
    """
    name = name_of(image)
    array = _array_of(image, name)
    if array is not None:
        return _of_array(array, name)
    if isinstance(image, Image.Image) and not _is_unread(image):
        if getattr(image, "is_animated", False) and image.format != "MPO" and image.tell() == 0:
            raise UserError(
                f"{name} has several frames, expected one: give image.copy() of the one that is meant."
            )
        with damage_named(name):
            return _of_pillow(_upright(image))
    with _file(image, name) as file:
        return _of_file(lambda: _open(file, image, name, max_pixels), name)


def image_size(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read height and width in pixels from a file's header, as they are once the image is upright.

    Raises:
        UserError: as `decode`, as far as the header tells.
    """
    name = name_of(image)
    array = _array_of(image, name)
    if array is not None:
        return array.shape[:2]
    if isinstance(image, Image.Image) and not _is_unread(image):
        return _upright_size(image)
    with _file(image, name) as file, damage_named(name):
        return _upright_size(_open(file, image, name, max_pixels))


def name_of(image: ImageLike) -> str:
    """What to call an image in a message."""
    if isinstance(image, str | Stored):
        return f"'{image_name(image)}'"
    path = os.fspath(image) if isinstance(image, os.PathLike) else getattr(image, "name", None)
    return f"'{path}'" if isinstance(path, str) else "The image given"


def _array_of(image: ImageLike, name: str) -> np.ndarray | None:
    """An array that was given; None for files and Pillow images."""
    if isinstance(image, np.ndarray):
        array = image
    elif isinstance(image, str | os.PathLike | Stored | Image.Image) or hasattr(image, "read"):
        return None
    elif hasattr(image, "__array__"):
        with damage_named(name):
            array = np.asarray(image)
    else:
        raise UserError(
            f"{name} is a {type(image).__name__}, expected a path, a file open for reading (io.BytesIO for "
            "encoded bytes), a Pillow image or an array, such as np.asarray(pixels, np.uint8)."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    plain = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not plain or 0 in array.shape or array.dtype.kind not in "buif":
        raise UserError(
            f"{name} is an array of {array.dtype} {list(array.shape)}; expected uint8 or uint16 "
            "[height, width], [height, width, 3] or [height, width, 4]. Convert it first."
        )
    return array


def _of_array(array: np.ndarray, name: str) -> Decoded:
    if array.dtype in (np.uint8, bool):
        return _of_pillow(Image.fromarray(array if array.dtype == np.uint8 else 255 * array.astype(np.uint8)))
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = array.astype(np.uint16, copy=False)
        values, transparent = deep_on_black(array) if array.shape[2:] == (4,) else (array, False)
        return Decoded(values, "I;16" if array.ndim == 2 else "RGB;16", transparent=transparent)
    if array.shape[2:] == (4,):
        raise UserError(
            f"{name} is an array of {array.dtype} with alpha; expected uint8 or uint16. Leave alpha away."
        )
    return Decoded(array, str(array.dtype))


def _is_unread(image: Image.Image) -> bool:
    """Whether Pillow has opened a file but not decoded it yet: we read it better, and know what it was."""
    return (
        isinstance(image, ImageFile.ImageFile)
        and image.format in READ
        and bool(image.tile)
        and getattr(image, "fp", None) is not None
        and image.tell() == 0
        and not image.decoderconfig  # the caller's `draft`
    )


@contextlib.contextmanager
def _file(image: ImageLike, name: str) -> Iterator[BinaryIO]:
    """A file, at its start; what the caller has opened stays open, and where it is."""
    if isinstance(image, str | os.PathLike | Stored):
        try:
            file = open_image_file(os.fspath(image) if isinstance(image, os.PathLike) else image)
        except FileNotFoundError as error:
            raise UserError(f"{name} does not exist. Check the path.") from error
        except (OSError, ValueError) as error:  # a name with a null character is a ValueError
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{name} cannot be read: {reason}. Mend or remove it.") from error
        with file:
            yield file
        return
    with damage_named(name):
        source = cast(BinaryIO, image.fp if isinstance(image, ImageFile.ImageFile) else image)
        if source.seekable():
            place = source.tell()
            source.seek(0)
            content = source.read()
            source.seek(place)
        else:
            content = source.read()
        file = io.BytesIO(content)
    yield file


def _open(file: BinaryIO, image: ImageLike, name: str, max_pixels: int) -> ImageFile.ImageFile:
    path = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
    file.seek(0)
    return open_file(file, name, suffix=os.path.splitext(path)[1], max_pixels=max_pixels)


def _of_file(open_it: Callable[[], ImageFile.ImageFile], name: str) -> Decoded:
    """Decode a file that can be opened several times."""
    opened = open_it()
    with damage_named(name):
        lossy, raw = is_lossy(opened), raw_mode(opened)
        if ";16" in raw and opened.mode in ("RGB", "RGBA"):
            return _of_deep_colour(open_it, raw)
        opened.load()
        decoded = _of_pillow(_upright(opened))
        if isinstance(opened, TiffImageFile) and not isinstance(decoded.pixels, Image.Image):
            decoded = decoded._replace(pixels=tiff.corrected(opened, decoded.pixels))
    return decoded._replace(lossy=lossy)


def _of_pillow(image: Image.Image) -> Decoded:
    """Bring an upright Pillow image to grey or RGB, or to an array if it has more than 8 bits."""
    mode = image.mode
    if mode.startswith("I;16"):
        return Decoded(np.asarray(image).astype(np.uint16, copy=False), mode)
    if mode in ("I", "F"):
        return Decoded(np.asarray(image), mode)
    if mode == "LAB":  # which Pillow makes something of
        raise ValueError("its colours are CIELab; convert it to RGB")
    if image.has_transparency_data or mode in ("La", "RGBa"):
        shown, transparent = on_black(image)
        return Decoded(shown, mode, transparent=transparent)
    wanted = "L" if mode in ("1", "L") else "RGB"
    return Decoded(image if mode == wanted else image.convert(wanted), mode)


def _of_deep_colour(open_it: Callable[[], ImageFile.ImageFile], raw: str) -> Decoded:
    """Decode colours of 16 bits, of which Pillow keeps the high bytes: asked a second time, the low ones."""
    if raw.startswith("LA"):  # the same bytes as those of RGBA of 8 bits
        values = _add_bytes(None, open_it(), "RGBA")
        values = values[..., ::2] << 8 | values[..., 1::2]
    else:
        stored = raw.replace("a", "A")  # colours multiplied by alpha are as they are on black
        values = _add_bytes(None, open_it(), stored)
        values <<= 8
        values = _add_bytes(values, open_it(), stored[:-1] + _other_end(stored[-1]))
    mode, transparent = raw.partition(";")[0] + ";16", False
    if "a" in raw:
        values = values[..., :-1]
    elif "A" in raw:
        values, transparent = deep_on_black(values)
    return Decoded(values, mode, transparent=transparent)


def _other_end(order: str) -> str:
    """Of "L" for low byte first, "B" for high byte first, and "N" for what this machine has."""
    low_first = order == "L" or (order == "N" and sys.byteorder == "little")
    return "B" if low_first else "L"


def _add_bytes(values: np.ndarray | None, opened: ImageFile.ImageFile, raw: str) -> np.ndarray:
    """Decode a file as if its pixels were stored as `raw`, and add them to uint16 `[H, W, C]`."""
    opened.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in opened.tile
    ]
    opened.load()
    image = _upright(opened)
    if values is None:
        values = np.zeros((*image.size[::-1], len(image.getbands())), np.uint16)
    for left, top, right, bottom in strips(image.size):
        values[top:bottom] |= np.asarray(image.crop((left, top, right, bottom)))
    return values


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 0))
    return image if turn is None else image.transpose(turn)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    # Pillow itself turns TIFF files, and knows their size in advance.
    turned = not isinstance(image, TiffImageFile) and (
        image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
    )
    return image.size if turned else _turned(image.size)


def _turned(size: tuple[int, int]) -> tuple[int, int]:
    """From width and height to height and width."""
    return size[1], size[0]
