"""From an image file to the array that everything uses: training, evaluation, prediction and export.

An image is decoded, turned upright, brought to 8-bit RGB and squashed to a square: nothing is cut off, so
that no defect can fall outside, at the price of the aspect ratio. Normalisation belongs to the
backbone and is not done here.
"""

import contextlib
import struct
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageOps

from hgad_jax.data.records import ImageFile, image_name, open_image_file
from hgad_jax.errors import UserError

# Part of the key of every cache of features: to be raised with any change of the arrays made here.
TRANSFORM_VERSION = "squash-bilinear-1"

_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)  # what Pillow's readers raise
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def load_image(path: ImageFile, size: int) -> np.ndarray:
    """Decode an image file into `size`×`size` pixels of RGB.

    Grey is replicated to three channels. 16-bit grey is scaled from the full range, 0..65535, and not
    from the range in the image: the same grey must give the same value in every image. (12-bit
    cameras that fill only the lower bits therefore look dark: scale their images beforehand.) Transparent
    pixels are shown on black. Of a file with several images the first is taken.

    Args:
        path: of a file, or a place in a prepared dataset; any format that Pillow reads, any size.
        size: pixels, of both sides.

    Returns:
        uint8 `[size, size, 3]`.

    Raises:
        UserError: the file is missing, damaged, no image, too large to be decoded safely, or of 32-bit
            pixels, whose range is unknown.
    """
    with _opened(path) as image:
        square = _squash(_eight_bit(image, path), size, Image.Resampling.BILINEAR)
    pixels = np.asarray(square)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def load_mask(path: ImageFile, size: int, *, image_path: ImageFile) -> np.ndarray:
    """Decode the ground truth of an image; what is not black is defective.

    It is made binary before it is resized: masks with values as small as 1 exist. In a JPEG file, where
    compression leaves traces round the edges, a pixel must reach half of the brightest.

    Args:
        path: of the mask.
        size: pixels, of both sides.
        image_path: of the image the mask belongs to, to compare sizes.

    Returns:
        bool `[size, size]`, from the nearest pixels.

    Raises:
        UserError: the file cannot be read, or its size in pixels is not the image's.
    """
    with _opened(path) as image:
        defective = _defective(image)
    height, width = defective.shape
    expected = image_size(image_path)
    if (width, height) != expected:
        raise UserError(
            f"'{image_name(path)}' has {width}×{height} pixels but its image '{image_name(image_path)}' has "
            f"{expected[0]}×{expected[1]}: they must be equal. Resize the mask or use the image's own."
        )
    square = _squash(Image.fromarray(defective), size, Image.Resampling.NEAREST)
    return np.asarray(square)


def image_size(path: ImageFile) -> tuple[int, int]:
    """Read width and height in pixels from a file's header, as they are once the image is upright.

    Raises:
        UserError: the file cannot be read.
    """
    with _opened(path) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        # Pillow itself turns TIFF upright, before the size is read.
        sideways = orientation in _SIDEWAYS and image.format != "TIFF"
        return (image.height, image.width) if sideways else image.size


@contextlib.contextmanager
def _opened(path: ImageFile) -> Iterator[Image.Image]:
    """Open a file; an error of Pillow's on the way or in the body becomes one that names the file."""
    name = image_name(path)
    try:
        with Image.open(open_image_file(path)) as image:
            # Pillow itself only warns up to twice its limit; None means no limit.
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}×{image.height} pixels")
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"'{name}' is too large to be decoded safely ({error}; the limit is "
            f"{Image.MAX_IMAGE_PIXELS} pixels). Make it smaller, or cut it into several images."
        ) from error
    except FileNotFoundError as error:
        raise UserError(f"'{name}' does not exist. Check the path.") from error
    except _DECODING_ERRORS as error:
        raise UserError(
            f"'{name}' cannot be read as an image: {error}. Replace it by a whole image (png, jpg, bmp, "
            "tif) or take it away."
        ) from error


def _eight_bit(image: Image.Image, path: ImageFile) -> Image.Image:
    """Turn an image upright and bring it to 8 bits: "L" where it is grey, else "RGB"."""
    if image.mode in ("I", "F"):
        raise UserError(
            f"'{image_name(path)}' has 32-bit {'integer' if image.mode == 'I' else 'float'} pixels, whose "
            "range is unknown; expected 8 or 16 bits. Convert it to 8 or 16 bits, all images by the same "
            "scale."
        )
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))  # 257 = 65535 / 255
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _defective(image: Image.Image) -> np.ndarray:
    """Read an upright mask: bool [H, W], true where any colour is not black."""
    is_jpeg = image.format in ("JPEG", "MPO")
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode not in ("1", "L", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")  # colours of a palette; without alpha
    values = np.asarray(image)
    if values.ndim == 3:
        values = values.max(axis=2)
    return values > values.max() // 2 if is_jpeg else values != 0


def _squash(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    # Pillow widens the bilinear filter when it shrinks, which is what antialiasing is.
    return image.resize((size, size), resampling)
