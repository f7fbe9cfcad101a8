import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from hgad_jax.flows.grid import Grid
from hgad_jax.flows.position import (
    axis_codes,
    axis_hot,
    axis_table,
    grid_codes,
    position_map,
    project,
)


def code_at(x, y, channels):
    """The code of column x, row y, term by term."""
    half, code = channels // 2, []
    for coordinate in (x, y):
        for i in range(half // 2):
            frequency = 10_000 ** (-2 * i / half)
            code += [math.sin(coordinate * frequency), math.cos(coordinate * frequency)]
    return code


@pytest.mark.parametrize(("height", "width", "channels"), [(3, 5, 8), (5, 2, 12), (1, 70, 256)])
def test_position_map_equals_its_formula(height, width, channels):
    expected = [[code_at(x, y, channels) for x in range(width)] for y in range(height)]
    actual = position_map(axis_codes(height, width, channels))
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("level", range(reference.LEVELS))
def test_position_map_equals_the_published(level):
    expected = reference.level(level, "position")
    np.testing.assert_allclose(position_map(axis_codes(*expected.shape)), expected, atol=2e-6)


def test_every_position_has_its_own_code():
    codes = np.asarray(position_map(axis_codes(8, 8, 8))).reshape(64, 8)
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    assert distances[~np.eye(64, dtype=bool)].min() > 1e-2


def test_project_equals_the_map_times_the_kernel():
    codes = axis_codes(4, 6, 16)
    kernel = np.random.default_rng(0).normal(size=(16, 5)).astype(np.float32)
    expected = np.asarray(position_map(codes), np.float64) @ kernel.astype(np.float64)
    np.testing.assert_allclose(jax.jit(project)(codes, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 6, 9])
def test_width_has_to_be_a_multiple_of_four(channels):
    with pytest.raises(ValueError, match="multiple of 4"):
        axis_codes(2, 2, channels)


def test_axis_hot_and_table_are_the_projection_of_the_code():
    codes = axis_codes(3, 5, 8)
    kernel = np.random.default_rng(0).normal(size=(8, 7)).astype(np.float32)
    positions = np.array([0, 4, 5, 14, 14, 7])
    bias = np.arange(7, dtype=np.float32)
    expected = np.asarray(position_map(codes)).reshape(15, 8)[positions] @ kernel + bias
    actual = axis_hot(jnp.asarray(positions), 3, 5) @ axis_table(codes, kernel, bias)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_codes_of_a_grid_are_those_of_its_positions():
    grid = Grid(np.array([0, 7, 60], np.int32), np.array([3, 127], np.int32))
    codes = jax.jit(grid_codes, static_argnums=1)(grid, 64)
    expected = [[code_at(x, y, 64) for x in grid.columns] for y in grid.rows]
    np.testing.assert_allclose(position_map(codes), expected, atol=2e-5)
