"""From an image file to the array that everything uses: training, evaluation, prediction and export.

An image is decoded, turned upright, brought to 8-bit RGB and resized to a square, as a `Transform` says.
Normalisation belongs to the backbone and is not done here.
"""

import functools
import logging
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

from hgad_jax.data.decode import Decoded, ImageLike, decode, image_size, name_of
from hgad_jax.data.geometry import MAX_PIXELS, Box, Transform, cut_fraction, enlarged, placement
from hgad_jax.data.records import Pieces
from hgad_jax.data.white_level import beyond, to_eight_bits
from hgad_jax.errors import UserError

__all__ = ["ImageLike", "Loaded", "image_size", "load", "load_image", "load_mask", "load_whole_mask"]

CUT_WARNING = 0.1  # share of an image's area that may be cut away without a word
# Working squares that the whole image may take, resized, before a crop makes only what it leaves. (Below, the
# whole is made as it always was: the other way may round a pixel differently.)
_MOST_CUT = 16
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    # Pillow widens its filters when it shrinks, which is what antialiasing is.
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_warned: set[str] = set()


def warn_once(message: str, *arguments: object) -> None:
    """Logs a warning; the same one, of whatever image, not a second time in this process."""
    if message not in _warned:
        _warned.add(message)
        # Of absl, whose verbosity the commands set, and which is not there where a model is only loaded.
        logging.getLogger("absl").warning(message, *arguments)


class Loaded(NamedTuple):
    """An image as a model sees it.

    Attributes:
        pixels: uint8 `[W·d, W·d, 3]`, d being the transform's detail.
        size: its own height and width, pixels, upright.
        clipped: values of it that were brighter than white, or darker than black, and were taken for these.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    clipped: int


def load(image: ImageLike, transform: Transform) -> Loaded:
    """Decode an image and bring it to a square of RGB pixels.

    Grey is replicated to three channels. Pixels of more than 8 bits are scaled by what is white in all images
    (see `white_level`) and not by the range in the image: the same grey must give the same value in every
    image. Transparent pixels are shown on black, unless all are transparent: then as if none were.

    Args:
        image: see `decode`; any size.
        transform: of the run.

    Raises:
        UserError: the image is missing, damaged, too large, of a kind that is not read, or of pixels whose
            range is unknown.
    """
    decoded = decode(image, max_pixels=transform.max_pixels)
    upright, clipped = _eight_bit(decoded, transform, image)
    _warn_of_cut(transform, decoded.size, image)
    square = _resize(upright, transform, _RESAMPLING[transform.interpolation])
    pixels = np.asarray(square)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return Loaded(pixels, decoded.size, clipped)


def load_image(image: ImageLike, transform: Transform, *, tile: Box | None = None) -> np.ndarray:
    """The pixels that `load` gives, or a tile of them.

    Args:
        image: see `load`.
        transform: of the run.
        tile: the part of the working square to return, one of `tiles.tile_boxes`; None for all of it.

    Returns:
        uint8 `[S·d, S·d, 3]`: the tile; or `[W·d, W·d, 3]`, where W is S without tiles; d is the transform's
        detail.

    Raises:
        UserError: as `load`.
    """
    pixels = load(image, transform).pixels
    return pixels if tile is None else pixels[enlarged(tile, transform.detail).slices]


def load_mask(mask: ImageLike | Pieces, transform: Transform, *, image: ImageLike) -> np.ndarray:
    """Decode the ground truth of an image; what is not black is defective.

    It is made binary before it is resized: masks with values as small as 1 exist. Where compression leaves
    traces round the edges, as in a JPEG file, a pixel must reach half of the brightest. What is transparent
    is black, as in an image.

    Args:
        mask: as `image` in `load`, or several such files.
        transform: that the image goes through.
        image: that the mask belongs to, to compare sizes.

    Returns:
        bool `[W, W]`, from the nearest pixels; W is S without tiles.

    Raises:
        UserError: the file cannot be read, or its size in pixels is not the image's.
    """
    defective = load_whole_mask(mask, image=image, max_pixels=transform.max_pixels)
    coarse = transform._replace(detail=1)
    return np.asarray(_resize(Image.fromarray(defective), coarse, Image.Resampling.NEAREST))


def load_whole_mask(
    mask: ImageLike | Pieces, *, image: ImageLike, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decode a mask as `load_mask` does, at its own size: bool `[height, width]`."""
    return ground_truth(
        mask, image_size(image, max_pixels=max_pixels), image, max_pixels=max_pixels
    ).defective


class Truth(NamedTuple):
    """A decoded mask.

    Attributes:
        defective: bool `[height, width]`.
        transparent: whether it, or one of its pieces, is transparent everywhere.
    """

    defective: np.ndarray
    transparent: bool


def ground_truth(
    mask: ImageLike | Pieces, size: tuple[int, int], image: ImageLike, *, max_pixels: int = MAX_PIXELS
) -> Truth:
    """Decode a mask as `load_mask` does, at its own size.

    Args:
        mask: as in `load_mask`.
        size: height and width of its image, pixels.
        image: for messages.
        max_pixels: files of more are refused.

    Raises:
        UserError: as `load_mask`.
    """
    if isinstance(mask, Pieces):
        pieces = [ground_truth(piece, size, image, max_pixels=max_pixels) for piece in mask.files]
        defective, transparent = zip(*pieces, strict=True)
        return Truth(np.logical_or.reduce(defective), any(transparent))
    decoded = decode(mask, max_pixels=max_pixels)
    if decoded.size != size:
        height, width = decoded.size
        raise UserError(
            f"{name_of(mask)} has {width}×{height} pixels but its image {name_of(image)} has "
            f"{size[1]}×{size[0]}: they must be equal. Resize the mask or use the image's own."
        )
    values = _brightest(decoded.pixels)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(f"{name_of(mask)} has pixels that are not finite numbers (NaN or infinite). Mend it.")
    return Truth(values > values.max() // 2 if decoded.lossy else values != 0, decoded.transparent)


def _brightest(pixels: Image.Image | np.ndarray) -> np.ndarray:
    """The highest of the colours of each pixel, `[height, width]`."""
    if isinstance(pixels, Image.Image):
        return np.asarray(functools.reduce(ImageChops.lighter, pixels.split()))
    return pixels if pixels.ndim == 2 else functools.reduce(np.maximum, np.moveaxis(pixels, 2, 0))


def _eight_bit(decoded: Decoded, transform: Transform, image: ImageLike) -> tuple[Image.Image, int]:
    """An image of 8 bits, "L" or "RGB", and how many values were clipped."""
    if isinstance(decoded.pixels, Image.Image):
        return decoded.pixels, 0
    values, clipped = to_eight_bits(decoded.pixels, transform, name_of(image))
    if clipped:
        warn_once(
            "%s: %d of %d values are %s; they are taken for it. Other images may have some too.",
            *(name_of(image), clipped, values.size, beyond(transform)),
        )
    return Image.fromarray(values), clipped


def _resize(upright: Image.Image, transform: Transform, resampling: Image.Resampling) -> Image.Image:
    """Bring an upright image to the working square, in detail; what a letterbox leaves is black."""
    (width, height), side = upright.size, transform.working_size * transform.detail
    box = enlarged(placement(transform, (height, width)), transform.detail)
    if box.height * box.width > _MOST_CUT * side**2:
        return upright.resize((side, side), resampling, box=_part_seen(box, (height, width), side))
    resized = upright.resize((box.width, box.height), resampling)
    if (box.height, box.width) == (side, side):
        return resized
    if transform.resize == "letterbox":
        square = Image.new(upright.mode, (side, side), 0)
        square.paste(resized, (box.left, box.top))
        return square
    return resized.crop((-box.left, -box.top, side - box.left, side - box.top))


def _part_seen(box: Box, size: tuple[int, int], side: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in the image's own pixels, of what a crop leaves."""
    down, across = size[0] / box.height, size[1] / box.width
    left, top = max(0.0, -box.left * across), max(0.0, -box.top * down)
    return left, top, min(size[1], left + side * across), min(size[0], top + side * down)


def _warn_of_cut(transform: Transform, size: tuple[int, int], image: ImageLike) -> None:
    cut = cut_fraction(transform, size)
    if cut > CUT_WARNING:
        warn_once(
            "%s: short_side_crop cuts %.0f %% of it away (%d×%d pixels), and defects there will not be seen; "
            "other images may be cut too. --config.data.resize=squash or letterbox keeps all of an image.",
            *(name_of(image), 100 * cut, size[1], size[0]),
        )
