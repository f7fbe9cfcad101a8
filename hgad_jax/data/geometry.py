"""Where an image's pixels go in the square that a model sees, and how a map comes back to them.

Arithmetic only; `transforms` decodes and resizes. Coordinates are (row, column), sizes (height, width), in
pixels. A *working square* of W×W pixels holds the image; without tiles it is what the model sees, with tiles
it is cut into overlapping squares of S×S (see `tiles`).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

RESIZES = ("squash", "short_side_crop", "letterbox")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
MAX_PIXELS = 100_000_000  # line-scan cameras have 16,384 × 6,000; in RGB some 400 MB while it is decoded
# Part of every cache key: to be raised with any change of the arrays made here or in `transforms`.
_VERSION = 1


class Transform(NamedTuple):
    """How an image becomes the square that a model sees.

    Attributes:
        size: side of that square, S pixels.
        resize: "squash" (both sides to S, nothing cut), "short_side_crop" (HGAD's: the shorter side to S,
            the middle kept) or "letterbox" (the longer side to S, the rest black).
        interpolation: of images, antialiased; masks are always resized to the nearest pixel.
        tiles: per side; 1 for none.
        tile_overlap: share of a tile's side that it has in common with its neighbour.
        white_level: value of white in images of 16 bits; 0 if it is unknown, so that they are refused.
        value_range: of black and white in images whose pixels are signed, of 32 bits or floats; () if it is
            unknown, so that they are refused.
        max_pixels: files of more are refused.
        detail: what is decoded has so many times as many pixels a side, W·detail, for what looks closer than
            the rest; all else, boxes and masks and maps, is in pixels of the working square.
    """

    size: int
    resize: str = "squash"
    interpolation: str = "bilinear"
    tiles: int = 1
    tile_overlap: float = 0.25
    white_level: int = 65535
    value_range: tuple[float, ...] = ()
    max_pixels: int = MAX_PIXELS
    detail: int = 1

    @property
    def working_size(self) -> int:
        """Side of the working square, W pixels; S without tiles."""
        return round(self.size * (self.tiles - (self.tiles - 1) * self.tile_overlap))

    @property
    def num_tiles(self) -> int:
        """Squares of S×S that an image gives."""
        return self.tiles**2

    def key(self) -> dict[str, Any]:
        """All that the arrays depend on, for the key of a cache."""
        depends = self._asdict()
        del depends["max_pixels"]
        # Caches of images of 8 bits, and of 16 of the full range, keep the keys that they had before.
        if self.white_level in (0, 65535):
            del depends["white_level"]
        if not self.value_range:
            del depends["value_range"]
        if self.detail == 1:
            del depends["detail"]
        return {"version": _VERSION, **depends}


class Box(NamedTuple):
    """A rectangle of pixels: rows `top` to `top + height`, columns `left` to `left + width`."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """To cut it out of an array `[H, W, ...]`."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def mask(self, size: int) -> np.ndarray:
        """Bool `[size, size]`, true inside."""
        inside = np.zeros((size, size), bool)
        inside[self.slices] = True
        return inside

    def within(self, other: "Box") -> "Box":
        """The part that lies in `other`, in coordinates of `other`; of no height and width if none does."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - top
        width = min(self.left + self.width, other.left + other.width) - left
        if height <= 0 or width <= 0:
            return Box(0, 0, 0, 0)
        return Box(top - other.top, left - other.left, height, width)


def transform_of(data: Any) -> Transform:
    """Read the transform from the `data` section of a config."""
    settings = {name: data.get(name, default) for name, default in Transform._field_defaults.items()}
    settings["value_range"] = tuple(map(float, settings["value_range"]))
    return Transform(size=data.image_size, **settings)


def mapped(transform: Transform, map_size: int) -> Transform:
    """The transform of masks and maps of this side, pixels; 0: as large as what the model sees."""
    return transform._replace(size=map_size or transform.size, detail=1)


def placement(transform: Transform, image_size: tuple[int, int]) -> Box:
    """Where the whole image lies in the working square; with a crop it reaches beyond the square.

    Args:
        transform: of the run.
        image_size: height and width of the upright image, pixels.
    """
    height, width = image_size
    side = transform.working_size
    if transform.resize == "squash":
        return Box(0, 0, side, side)
    if transform.resize == "short_side_crop":
        shorter = min(height, width)
        # Rounded as torchvision's Resize and CenterCrop do, which the published code uses.
        new = (side * height // shorter, side * width // shorter)
        return Box(-round((new[0] - side) / 2), -round((new[1] - side) / 2), *new)
    if transform.resize == "letterbox":
        longer = max(height, width)
        new = (max(1, round(side * height / longer)), max(1, round(side * width / longer)))
        return Box((side - new[0]) // 2, (side - new[1]) // 2, *new)
    raise ValueError(f"resize is '{transform.resize}', expected one of {RESIZES}")


def enlarged(box: Box, factor: int) -> Box:
    """A box in pixels of which `factor` are one a side."""
    return Box(*(factor * value for value in box))


def cut_fraction(transform: Transform, image_size: tuple[int, int]) -> float:
    """Share of the image's area that is cut away, 0 to 1."""
    box, side = placement(transform, image_size), transform.working_size
    visible = box.within(Box(0, 0, side, side))
    return 1 - visible.height * visible.width / (box.height * box.width)


def valid_region(transform: Transform, image_size: tuple[int, int]) -> Box:
    """The part of the working square that shows image; a letterbox fills the rest with black.

    Pixels outside of it are no evidence: leave them out of scores and metrics. For a tile, take
    `valid_region(...).within(tile)` with a box of `tiles.tile_boxes`.
    """
    side = transform.working_size
    return placement(transform, image_size).within(Box(0, 0, side, side))


def visible_boxes(transform: Transform, sizes: Iterable[tuple[int, int]]) -> np.ndarray:
    """Where images lie in the working square: int32 `[N, 4]` of top, left, height and width, pixels.

    Args:
      transform: of the run.
      sizes: height and width of each image, pixels.
    """
    boxes = [valid_region(transform, size) for size in sizes]
    return np.array(boxes, np.int32).reshape(-1, 4)


def map_to_image(anomaly_map: np.ndarray, transform: Transform, image_size: tuple[int, int]) -> np.ndarray:
    """Bring a map over the working square back to the image's own pixels.

    Bilinear between pixel centres; where the image is smaller than the map, antialiased.

    Args:
        anomaly_map: `[W, W]`.
        transform: that the image went through.
        image_size: height and width of the upright image, pixels.

    Returns:
        float32 `[height, width]`; NaN for pixels that the transform cut off.
    """
    side = transform.working_size
    if anomaly_map.shape != (side, side):
        raise ValueError(f"a map of shape {anomaly_map.shape}, expected {(side, side)}")
    box, valid = placement(transform, image_size), valid_region(transform, image_size)
    rows = _weights(image_size[0], box.top, box.height, valid.top, valid.height)
    columns = _weights(image_size[1], box.left, box.width, valid.left, valid.width)
    return rows @ anomaly_map[valid.slices].astype(np.float32) @ columns.T


def _weights(pixels: int, start: int, length: int, low: int, count: int) -> np.ndarray:
    """Rows of weights `[pixels, count]` that resample along one axis; a row of NaN where nothing is seen.

    Args:
        pixels: of the image.
        start: first pixel of the working square that shows the image; may be negative.
        length: pixels of the working square that the whole image takes.
        low: first visible pixel of the working square.
        count: visible pixels.
    """
    scale = length / pixels
    centres = start + (np.arange(pixels) + 0.5) * scale  # of the image's pixels, in the working square
    sources = low + np.arange(count) + 0.5
    weights = np.maximum(0, 1 - np.abs(sources - centres[:, None]) / max(1.0, scale))
    seen = (centres >= low) & (centres <= low + count)
    weights[~seen] = np.nan
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
