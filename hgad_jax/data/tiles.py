"""Overlapping tiles: large images at their own resolution, each tile an example of its own.

An image is brought to the working square of W×W pixels and cut into n×n squares of S×S, row by row, which
share a part of their side with the next one. Each is trained on and scored alone; `blend` puts maps together.
"""

from collections.abc import Sequence

import numpy as np

from hgad_jax.data.geometry import Box, Transform, enlarged


def tile_boxes(transform: Transform) -> tuple[Box, ...]:
    """The tiles of the working square, n², row by row."""
    size = transform.size
    starts = np.rint(np.linspace(0, transform.working_size - size, transform.tiles)).astype(int).tolist()
    return tuple(Box(top, left, size, size) for top in starts for left in starts)


def cut(working: np.ndarray, transform: Transform) -> np.ndarray:
    """Cut an image `[W·d, W·d, ...]` in a transform's detail d into its tiles `[n², S·d, S·d, ...]`."""
    return np.stack([working[enlarged(box, transform.detail).slices] for box in tile_boxes(transform)])


def example_indices(records: Sequence[int] | np.ndarray, transform: Transform) -> np.ndarray:
    """Indices of all tiles of some images, where image i has the examples i·n² to (i + 1)·n² − 1.

    Args:
        records: integers `[R]`, the images.
        transform: of the run.

    Returns:
        int64 `[R · n²]`, in the order of `records`.
    """
    first = np.asarray(records, np.int64) * transform.num_tiles
    return (first[:, None] + np.arange(transform.num_tiles)).ravel()


def blend(maps: np.ndarray, transform: Transform) -> np.ndarray:
    """Put the maps of an image's tiles together.

    Where tiles overlap, they are averaged with weights that fall smoothly towards a tile's edge, so that no
    seam shows; a constant stays constant.

    Args:
        maps: `[n², S, S]`, in the order of `tile_boxes`.
        transform: of the run.

    Returns:
        float32 `[W, W]`.
    """
    boxes, side = tile_boxes(transform), transform.working_size
    if maps.shape != (len(boxes), transform.size, transform.size):
        raise ValueError(
            f"maps of shape {maps.shape}, expected {(len(boxes), transform.size, transform.size)}"
        )
    window = tile_window(transform)
    total, weight = np.zeros((side, side)), np.zeros((side, side))
    for box, tile in zip(boxes, maps, strict=True):
        total[box.slices] += window * tile
        weight[box.slices] += window
    return (total / weight).astype(np.float32)


def tile_window(transform: Transform) -> np.ndarray:
    """Weights `[S, S]` of a tile's pixels: 1 in the middle, towards 0 over the overlap at each edge."""
    size = transform.size
    to_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    ramp = np.clip(to_edge / max(1.0, transform.tile_overlap * size), 0, 1)
    ramp = np.sin(np.pi / 2 * ramp) ** 2
    return np.outer(ramp, ramp)
