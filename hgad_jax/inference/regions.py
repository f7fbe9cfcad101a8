"""Regions of an image above the threshold of its pixels, measured in pixels of the image itself."""

import contextlib
from typing import NamedTuple

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from hgad_jax.data.geometry import Transform, placement, valid_region
from hgad_jax.inference import contours


class Region(NamedTuple):
    """A connected region; places are (x, y) in pixels of the image, from its top left corner.

    Attributes:
      area: square pixels.
      length: the largest distance between two points of its outline, pixels.
      centre: the mean place of its area.
      peak: where the score is highest.
      highest: the pixel score there.
      outline: corners `[N, 2]`, the first not repeated; clockwise as seen on a screen.
      holes: likewise, anticlockwise.
    """

    area: float
    length: float
    centre: tuple[float, float]
    peak: tuple[float, float]
    highest: float
    outline: np.ndarray
    holes: tuple[np.ndarray, ...]


def regions(
    values: np.ndarray,
    threshold: float,
    transform: Transform,
    size: tuple[int, int],
    *,
    min_area: float = 0.0,
) -> tuple[Region, ...]:
    """The regions above a threshold, the largest first.

    Args:
      values: pixel scores over the working square, `[W, W]`.
      threshold: of pixels.
      transform: of the model.
      size: height and width of the image, pixels.
      min_area: regions of less are left out, square pixels of the image.
    """
    valid, whole = valid_region(transform, size), placement(transform, size)
    scale = np.array([size[1] / whole.width, size[0] / whole.height])
    corner = np.array([valid.left - whole.left, valid.top - whole.top])

    def in_image(places):
        return (places + corner) * scale

    found = []
    for region in contours.regions_above(values[valid.slices], threshold):
        area = region.area * float(scale.prod())
        if area < min_area:
            continue
        outline = in_image(region.outline)
        found.append(
            Region(
                area=area,
                length=_length(outline),
                centre=_place(in_image(region.centre + 0.5)),
                peak=_place(in_image(region.peak + 0.5)),
                highest=region.highest,
                outline=outline,
                holes=tuple(in_image(hole) for hole in region.holes),
            )
        )
    return tuple(found)


def _place(point: np.ndarray) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _length(outline: np.ndarray) -> float:
    """The largest distance between two corners: two of the convex hull have it."""
    with contextlib.suppress(QhullError):  # without an area, where there is nothing to gain
        outline = outline[ConvexHull(outline).vertices]
    return float(pdist(outline).max())
