"""A sample of a map's positions: a grid of rows and columns.

Positions next to each other see nearly the same part of an image. A flow that trains on a sparse grid, moved
at random from step to step, sees every position as often, and a step costs less or takes more images instead.
"""

import math
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from hgad_jax.types import Array

A = TypeVar("A", jax.Array, np.ndarray)


class Grid(NamedTuple):
    """The positions (y, x) of all y in `rows` and x in `columns`."""

    rows: Array  # [n] integers
    columns: Array  # [m] integers


def draw_grids(
    rng: np.random.Generator, sizes: tuple[tuple[int, ...], ...], positions: int
) -> tuple[Grid, ...] | None:
    """Draws a grid for each level.

    Each row has the same probability to be in the grid, and so has each column: lines are evenly spaced,
    begin anywhere, and go on at the map's start when they reach its end.

    Args:
      rng: generator.
      sizes: (h, w, ...) of the levels.
      positions: at most so many are taken of a map; 0: all.

    Returns:
      A grid per level, of int32 on the host, or None where all positions are taken.
    """
    if not positions or all(h * w <= positions for h, w, *_ in sizes):
        return None
    return tuple(_draw(rng, h, w, positions) for h, w, *_ in sizes)


def _draw(rng: np.random.Generator, h: int, w: int, positions: int) -> Grid:
    kept = min(1.0, math.sqrt(positions / (h * w)))

    def lines(length):
        count = max(1, int(length * kept + 1e-6))
        spaced = np.arange(count) * length // count
        return np.sort((spaced + rng.integers(length)) % length).astype(np.int32)

    return Grid(lines(h), lines(w))


def take(maps: A, grid: Grid, axis: int) -> A:
    """Of maps with height and width at `axis` and `axis + 1`, the grid's positions."""
    return maps.take(grid.rows, axis).take(grid.columns, axis + 1)
