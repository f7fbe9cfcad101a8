"""Samples of a map's positions."""

import numpy as np
import pytest

from hgad_jax.flows.grid import Grid, draw_grids, take

SIZES = ((32, 32, 40), (14, 9, 7), (3, 3, 5))


def draw(seed, positions, sizes=SIZES):
    return draw_grids(np.random.default_rng(seed), sizes, positions)


@pytest.mark.parametrize("positions", [1, 4, 16, 64])
def test_no_more_positions_than_asked_for_and_none_twice(positions):
    for seed in range(20):
        for grid, (h, w, _) in zip(draw(seed, positions), SIZES, strict=True):
            assert 1 <= len(grid.rows) * len(grid.columns) <= max(positions, 1)
            for lines, length in ((grid.rows, h), (grid.columns, w)):
                assert len(set(lines.tolist())) == len(lines)
                assert 0 <= lines.min() <= lines.max() < length
                assert lines.dtype == np.int32


def test_number_of_positions_of_the_default_levels():
    grids = draw(0, 16, ((32, 32, 40), (16, 16, 112), (8, 8, 320)))
    assert [(len(g.rows), len(g.columns)) for g in grids] == [(4, 4)] * 3


def test_small_maps_are_whole():
    grids = draw(0, 16)
    assert [list(lines) for lines in grids[2]] == [[0, 1, 2]] * 2
    assert draw(0, 1024) is None
    assert draw(0, 0) is None


def test_every_row_and_column_is_as_probable():
    """Fourteen rows do not divide into the three that are drawn."""
    count, rows, columns = 7000, np.zeros(14), np.zeros(9)
    for seed in range(count):
        grid = draw(seed, 10, SIZES[1:2])[0]
        rows[grid.rows] += 1
        columns[grid.columns] += 1
    for seen in (rows, columns):
        expected = seen.sum() / len(seen)
        # Five deviations of a binomial share.
        assert abs(seen - expected).max() < 5 * np.sqrt(expected)


def test_lines_are_evenly_spaced():
    for seed in range(20):
        rows = draw(seed, 16, ((32, 32),))[0].rows
        assert set(np.diff(rows)) == {8}


def test_take():
    maps = np.arange(2 * 5 * 4 * 3).reshape(2, 5, 4, 3)
    grid = Grid(np.array([1, 4]), np.array([0, 2, 3]))
    taken = take(maps, grid, 1)
    assert taken.shape == (2, 2, 3, 3)
    for i, y in enumerate(grid.rows):
        for j, x in enumerate(grid.columns):
            np.testing.assert_array_equal(taken[:, i, j], maps[:, y, x])
