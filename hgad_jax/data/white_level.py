"""From pixels of more than 8 bits to 8 bits, by what is white and what is black in all images of a dataset.

Cameras of 10, 12 or 14 bits save files of 16. Scaled from the full range, 12 bits would leave 17 of 256
greys; scaled by the brightest pixel of each image, the same grey would differ from image to image. So one
white level is found for all images when training starts, and kept with the model.
"""

import functools
from collections.abc import Collection

import numpy as np

from hgad_jax.data.geometry import Transform
from hgad_jax.errors import UserError

FULL = 65535
_BITS = (8, 10, 12, 14, 16)  # of cameras


def bits_of(highest: int) -> int:
    """The bits of the camera whose pixels are at most `highest`."""
    return next(bits for bits in _BITS if highest < 2**bits)


def found(highest: Collection[int]) -> int:
    """The white level of a dataset: the smallest of a camera's that holds all pixels.

    Args:
        highest: pixel of each good training image of 16 bits.

    Returns:
        2^bits − 1; 0 if there is no such image.
    """
    return 2 ** bits_of(max(highest)) - 1 if highest else 0


def describe(white: int, highest: Collection[int], *, given: bool) -> str:
    """A line for the user about the white level of a dataset.

    Args:
        white: level.
        highest: as for `found`, of at least one image.
        given: whether the user gave it.
    """
    bits = f"{white.bit_length()} bits" if white in (2**n - 1 for n in _BITS) else "no camera's full range"
    source = "as config.data.white_level says" if given else "the least that holds them all"
    return (
        f"White is {white} ({bits}) in images of 16 bits, {source}: the highest value in {len(highest)} good "
        f"training images is {max(highest)}. Another white: --config.data.white_level"
    )


def unknown(name: str) -> str:
    """Why a 16-bit image cannot be used with a model of 8-bit images."""
    return (
        f"{name} has 16-bit pixels, and what is white in them is unknown, since the images to train on have "
        "8 bits. Convert it to 8 bits as these were, or train with the camera's white level: "
        "--config.data.white_level=4095 for 12 bits, for example."
    )


def to_eight_bits(values: np.ndarray, transform: Transform, name: str) -> tuple[np.ndarray, int]:
    """Scale pixels so that black is 0 and white 255.

    Args:
        values: uint16, scaled by the transform's white level, or of another type, by its range of values.
        transform: of the run.
        name: of the image, for messages.

    Returns:
        uint8 of the same shape; and how many values were above white or below black, and are taken for these.

    Raises:
        UserError: what is white is unknown, or there are values that are not finite.
    """
    if values.dtype == np.uint16:
        if not transform.white_level:
            raise UserError(unknown(name))
        return _by_table(values, transform.white_level)
    low, high = _range_of_values(values, transform, name)
    scaled, clipped = np.empty(values.shape, np.uint8), 0
    for row, out in zip(values, scaled, strict=True):  # row by row, so that little memory is needed
        if not np.isfinite(row).all():
            raise UserError(f"{name} has pixels that are not finite numbers (NaN or infinite). Mend it.")
        share = (row.astype(np.float64) - low) / (high - low)
        clipped += np.count_nonzero((share < 0) | (share > 1))
        out[:] = np.floor(255 * np.clip(share, 0, 1) + 0.5)
    return scaled, int(clipped)


def beyond(transform: Transform) -> str:
    """What to call values that are clipped, in a message."""
    limits = []
    if transform.white_level not in (0, FULL):
        limits.append(f"above the white level {transform.white_level} (data.white_level)")
    if transform.value_range:
        limits.append(f"outside of data.value_range, {transform.value_range}")
    return " or ".join(limits)


def _by_table(values: np.ndarray, white: int) -> tuple[np.ndarray, int]:
    return _table(white)[values], 0 if white == FULL else int(np.count_nonzero(values > white))


@functools.cache
def _table(white: int) -> np.ndarray:
    greys = np.arange(FULL + 1, dtype=np.int64)
    return np.minimum((510 * greys + white) // (2 * white), 255).astype(np.uint8)  # halves are rounded up


def _range_of_values(values: np.ndarray, transform: Transform, name: str) -> tuple[float, float]:
    if not transform.value_range:
        raise UserError(
            f"{name} has {_type_name(values.dtype)} pixels, whose range is unknown; expected 8 or 16 bits. "
            "Convert it to 8 or 16 bits, all images by the same scale, or train with the values of black and "
            "white, such as --config.data.value_range=0.0,1.0"
        )
    black, white = transform.value_range
    return black, white


def _type_name(dtype: np.dtype) -> str:
    kind = {"f": "float", "i": "integer", "u": "unsigned integer"}.get(dtype.kind, str(dtype))
    return f"{8 * dtype.itemsize}-bit {kind}"
