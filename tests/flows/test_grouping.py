"""Sorting into tiles against what it is for: every image in a tile of its group, and few rows for nothing."""

import jax
import numpy as np
import pytest

from hgad_jax.flows.grouping import sorted_into_tiles

sort = jax.jit(sorted_into_tiles, static_argnums=1)
over_sizes = pytest.mark.parametrize(
    ("batch", "num_groups"), [(1, 1), (1, 5), (3, 70), (8, 2), (32, 1), (32, 3), (32, 15), (64, 60)]
)


def draws(batch, num_groups):
    """Groups of images: evenly, all in one (the first, the last), few of them, as many as there are."""
    rng = np.random.default_rng(0)
    yield rng.integers(num_groups, size=batch)
    yield np.zeros(batch, int)
    yield np.full(batch, num_groups - 1)
    yield rng.permutation(np.arange(batch) % num_groups)
    for _ in range(20):  # one group has most
        few = rng.integers(num_groups, size=3)
        yield np.where(rng.random(batch) < 0.7, few[0], rng.choice(few, batch))


@over_sizes
def test_every_image_is_in_a_tile_of_its_group(batch, num_groups):
    for groups in draws(batch, num_groups):
        rows, group_of_tile, place = map(np.asarray, sort(groups, num_groups))
        np.testing.assert_array_equal(rows.ravel()[place], np.arange(batch))
        np.testing.assert_array_equal(np.repeat(group_of_tile, rows.shape[1])[place], groups)
        assert rows.min() >= 0
        assert rows.max() < batch
        assert 0 <= group_of_tile.min() <= group_of_tile.max() < num_groups


@over_sizes
def test_rows_are_few(batch, num_groups):
    count, size = jax.eval_shape(lambda g: sort(g, num_groups), np.zeros(batch, int))[0].shape
    assert count * size < 2 * batch
    assert size == -(-batch // num_groups)
