"""Outlines of the regions of a thresholded map, as polygons along the edges of its pixels.

Along the edges and not through the pixels' centres: a polygon's area is then the number of pixels in it, and
filling it gives the thresholded map back.
"""

from typing import NamedTuple, cast

import numpy as np
from scipy import ndimage


class Region(NamedTuple):
    """A connected region, without diagonal connections.

    Attributes:
      outline: `[N, 2]` corners as (x, y) in pixels of the map, the first not repeated; clockwise as seen on
        a screen, where y points down.
      holes: likewise, anticlockwise.
      area: pixels.
      highest: the highest value in it.
      centre: the mean of its pixels' (x, y).
      peak: the pixel (x, y) with the highest value.
    """

    outline: np.ndarray
    holes: list[np.ndarray]
    area: int
    highest: float
    centre: np.ndarray
    peak: np.ndarray


def regions_above(values: np.ndarray, threshold: float) -> list[Region]:
    """The regions of a map `[H, W]` above a threshold, the largest first; NaN is below any."""
    # A cast, since SciPy returns a number alone where it is given an array for the labels.
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(values > threshold))
    places = ndimage.find_objects(labels)
    regions = [_region(labels, values, k + 1, places[k]) for k in range(count)]
    return sorted(regions, key=lambda region: -region.area)


def _region(labels: np.ndarray, values: np.ndarray, number: int, place: tuple[slice, slice]) -> Region:
    mask = labels[place] == number
    corner = np.array([place[1].start, place[0].start])
    loops = [loop + corner for loop in _loops(mask)]
    # The outline is the only loop that runs clockwise.
    outline = next(loop for loop in loops if _signed_area(loop) > 0)
    holes = [loop for loop in loops if _signed_area(loop) < 0]
    rows, columns = np.nonzero(mask)
    inside = values[place][mask]
    highest = int(inside.argmax())
    centre = np.array([columns.mean(), rows.mean()]) + corner
    peak = np.array([columns[highest], rows[highest]]) + corner
    return Region(outline, holes, len(rows), float(inside[highest]), centre, peak)


def _signed_area(loop: np.ndarray) -> float:
    x, y = loop.T.astype(float)
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _loops(mask: np.ndarray) -> list[np.ndarray]:
    """All boundaries of one connected region, inside on the right-hand side of the way."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    steps: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(open_side, start, step):
        rows, columns = np.nonzero(inside & ~open_side)
        for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
            steps.setdefault((x + start[0], y + start[1]), []).append(step)

    add(padded[:-2, 1:-1], (0, 0), (1, 0))  # nothing above: along the top edge, to the right
    add(padded[1:-1, 2:], (1, 0), (0, 1))  # nothing to the right: down
    add(padded[2:, 1:-1], (1, 1), (-1, 0))  # nothing below: to the left
    add(padded[1:-1, :-2], (0, 1), (0, -1))  # nothing to the left: up
    loops = []
    while steps:
        loops.append(_walk(steps))
    return loops


def _walk(steps: dict) -> np.ndarray:
    """Follows one boundary until it closes, taking its steps away; corners only."""
    start = point = next(iter(steps))
    corners, direction = [], (0, 0)
    while point in steps:
        # Where two pixels touch at a corner only, a right turn stays with the same one.
        right = (-direction[1], direction[0])
        if point == start and corners and right not in steps[start]:
            break  # closed; what is left here belongs to the boundary of the other pixel
        step = right if right in steps[point] else steps[point][0]
        steps[point].remove(step)
        if not steps[point]:
            del steps[point]
        if step != direction:
            corners.append(point)
        point, direction = (point[0] + step[0], point[1] + step[1]), step
    first = np.sign(np.subtract(corners[1], corners[0]))
    if tuple(first.tolist()) == direction:
        corners.pop(0)  # the walk began in the middle of an edge
    return np.array(corners)
