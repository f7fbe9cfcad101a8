"""From an image file to the array that everything uses: training, evaluation, prediction and export.

An image is decoded, turned upright, brought to 8-bit RGB and resized to a square, as a `Transform` says.
Normalisation belongs to the backbone and is not done here.
"""

import contextlib
import os
import struct
from collections.abc import Iterator

import numpy as np
from absl import logging
from PIL import ExifTags, Image, ImageOps

from hgad_jax.data.geometry import Box, Transform, cut_fraction, placement
from hgad_jax.data.records import ImageFile, Pieces, Stored, image_name, open_image_file
from hgad_jax.errors import UserError

ImageLike = ImageFile | os.PathLike | Image.Image | np.ndarray

CUT_WARNING = 0.1  # share of an image's area that may be cut away without a word
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what Pillow's readers raise
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    # Pillow widens its filters when it shrinks, which is what antialiasing is.
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def load_image(image: ImageLike, transform: Transform, *, tile: Box | None = None) -> np.ndarray:
    """Decode an image and bring it to a square of RGB pixels.

    Grey is replicated to three channels. 16-bit grey is scaled from the full range, 0..65535, and not
    from the range in the image: the same grey must give the same value in every image. (12-bit
    cameras that fill only the lower bits therefore look dark: scale their images beforehand.) Transparent
    pixels are shown on black. Of a file with several images the first is taken.

    Args:
        image: the path of a file of any format that Pillow reads, or one inside a prepared dataset, or a
            Pillow image, or an array `[H, W]` (uint8, uint16), `[H, W, 3]` or `[H, W, 4]` (uint8); any size.
        transform: of the run.
        tile: the part of the working square to return, one of `tiles.tile_boxes`; None for all of it.

    Returns:
        uint8 `[S, S, 3]`: the tile; or `[W, W, 3]`, where W is S without tiles.

    Raises:
        UserError: the file is missing, damaged, no image, too large to be decoded safely, or of 32-bit
            pixels, whose range is unknown.
    """
    with open_image(image) as opened:
        upright = _eight_bit(opened, image)
        _warn_of_cut(transform, upright.size[::-1], image)
        square = _resize(upright, transform, _RESAMPLING[transform.interpolation])
    pixels = np.asarray(square)
    if tile is not None:
        pixels = pixels[tile.slices]
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def load_mask(mask: ImageLike | Pieces, transform: Transform, *, image: ImageLike) -> np.ndarray:
    """Decode the ground truth of an image; what is not black is defective.

    It is made binary before it is resized: masks with values as small as 1 exist. In a JPEG file, where
    compression leaves traces round the edges, a pixel must reach half of the brightest.

    Args:
        mask: as `image` in `load_image`, or several such files.
        transform: that the image goes through.
        image: that the mask belongs to, to compare sizes.

    Returns:
        bool `[W, W]`, from the nearest pixels; W is S without tiles.

    Raises:
        UserError: the file cannot be read, or its size in pixels is not the image's.
    """
    defective = load_whole_mask(mask, image=image)
    return np.asarray(_resize(Image.fromarray(defective), transform, Image.Resampling.NEAREST))


def load_whole_mask(mask: ImageLike | Pieces, *, image: ImageLike) -> np.ndarray:
    """Decode a mask as `load_mask` does, at its own size: bool `[height, width]`."""
    if isinstance(mask, Pieces):
        return np.logical_or.reduce([load_whole_mask(piece, image=image) for piece in mask.files])
    with open_image(mask) as opened:
        defective = _defective(opened)
    height, width = defective.shape
    expected = image_size(image)
    if (height, width) != expected:
        raise UserError(
            f"{_name(mask)} has {width}×{height} pixels but its image {_name(image)} has "
            f"{expected[1]}×{expected[0]}: they must be equal. Resize the mask or use the image's own."
        )
    return defective


def image_size(image: ImageLike) -> tuple[int, int]:
    """Read height and width in pixels from a file's header, as they are once the image is upright.

    Raises:
        UserError: the file cannot be read.
    """
    with open_image(image) as opened:
        orientation = opened.getexif().get(ExifTags.Base.Orientation)
        # Pillow itself turns TIFF upright, before the size is read.
        sideways = orientation in _SIDEWAYS and opened.format != "TIFF"
        return opened.size if sideways else opened.size[::-1]


def _name(image: ImageLike) -> str:
    if isinstance(image, str | Stored):
        return f"'{image_name(image)}'"
    return f"'{os.fspath(image)}'" if isinstance(image, os.PathLike) else "The image given"


@contextlib.contextmanager
def open_image(image: ImageLike) -> Iterator[Image.Image]:
    """Open an image; an error of Pillow's on the way or in the body becomes one that names the file.

    Raises:
        UserError: the file is missing, damaged, no image or too large.
    """
    name = _name(image)
    try:
        with _open(image) as opened:
            # Pillow itself only warns up to twice its limit; None means no limit.
            if Image.MAX_IMAGE_PIXELS and opened.width * opened.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{opened.width}×{opened.height} pixels")
            yield opened
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{name} is too large to be decoded safely ({error}; the limit is "
            f"{Image.MAX_IMAGE_PIXELS} pixels). Make it smaller, or cut it into several images."
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"{name} does not exist. Check the path.") from error
    except _DECODING_ERRORS as error:
        raise UserError(
            f"{name} cannot be read as an image: {error}. Replace it by a whole image (png, jpg, bmp, "
            "tif) or take it away."
        ) from error


def _open(image: ImageLike) -> contextlib.AbstractContextManager[Image.Image]:
    if isinstance(image, Image.Image):
        return contextlib.nullcontext(image)  # the caller's stays open
    if isinstance(image, np.ndarray):
        _check_array(image)
        return Image.fromarray(image)
    return Image.open(open_image_file(os.fspath(image) if isinstance(image, os.PathLike) else image))


def _check_array(array: np.ndarray) -> None:
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16, bool)
    colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    if not (grey or colour) or 0 in array.shape:
        raise UserError(
            f"The image given is an array of {array.dtype} {list(array.shape)}; expected uint8 or uint16 "
            "[height, width], or uint8 [height, width, 3 or 4]. Scale and convert it first."
        )


def refuse_32_bit(opened: Image.Image, image: ImageLike) -> None:
    """Raise a `UserError` for pixels whose range is unknown."""
    if opened.mode in ("I", "F"):
        raise UserError(
            f"{_name(image)} has 32-bit {'integer' if opened.mode == 'I' else 'float'} pixels, whose range "
            "is unknown; expected 8 or 16 bits. Convert it to 8 or 16 bits, all images by the same scale."
        )


def _eight_bit(opened: Image.Image, image: ImageLike) -> Image.Image:
    """Turn an image upright and bring it to 8 bits: "L" where it is grey, else "RGB"."""
    refuse_32_bit(opened, image)
    opened = _upright(opened)
    if opened.mode.startswith("I;16"):
        values = np.asarray(opened).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 257 = 65535 / 255
    if opened.has_transparency_data:
        black = Image.new("RGBA", opened.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, opened.convert("RGBA")).convert("RGB")
    mode = "L" if opened.mode in ("1", "L") else "RGB"
    return opened if opened.mode == mode else opened.convert(mode)


def _upright(opened: Image.Image) -> Image.Image:
    # Pillow's own function copies what is upright already, as nearly every image is.
    turned = opened.getexif().get(ExifTags.Base.Orientation, 1) != 1
    return ImageOps.exif_transpose(opened) if turned else opened


def _defective(opened: Image.Image) -> np.ndarray:
    """Read an upright mask: bool [H, W], true where any colour is not black."""
    is_jpeg = opened.format in ("JPEG", "MPO")
    opened = _upright(opened)
    if opened.mode not in ("1", "L", "I", "F") and not opened.mode.startswith("I;16"):
        opened = opened.convert("RGB")  # colours of a palette; without alpha
    values = np.asarray(opened)
    if values.ndim == 3:
        values = values.max(axis=2)
    return values > values.max() // 2 if is_jpeg else values != 0


def _resize(opened: Image.Image, transform: Transform, resampling: Image.Resampling) -> Image.Image:
    """Bring an upright image to the working square; what a letterbox leaves is black."""
    size, side = opened.size[::-1], transform.working_size
    box = placement(transform, size)
    resized = opened.resize((box.width, box.height), resampling)
    if (box.height, box.width) == (side, side):
        return resized
    if transform.resize == "letterbox":
        square = Image.new(opened.mode, (side, side), 0)
        square.paste(resized, (box.left, box.top))
        return square
    return resized.crop((-box.left, -box.top, side - box.left, side - box.top))


def _warn_of_cut(transform: Transform, size: tuple[int, int], image: ImageLike) -> None:
    cut = cut_fraction(transform, size)
    if cut > CUT_WARNING:
        logging.log_first_n(
            logging.WARNING,
            "%s: short_side_crop cuts %.0f %% of it away (%d×%d pixels), and defects there will not be seen; "
            "other images may be cut too. --config.data.resize=squash or letterbox keeps all of an image.",
            1,
            *(_name(image), 100 * cut, size[1], size[0]),
        )
