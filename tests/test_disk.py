"""Rows on disk."""

import errno
import os

import numpy as np
import pytest

from hgad_jax.disk import DiskArray
from hgad_jax.errors import UserError


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = np.random.default_rng(0).random((5, 2, 3)).astype(np.float32)
    with DiskArray(tmp_path, (2, 3), np.float32) as array:
        array.write(3, rows[3:])
        array.write(0, rows[:3])
        np.testing.assert_array_equal(array.read(0, 5), rows)
        np.testing.assert_array_equal(array.read(4, 5), rows[4:])
        assert array.read(2, 2).shape == (0, 2, 3)
        with pytest.raises(ValueError, match="rows 4 to 6"):
            array.read(4, 6)
        assert not list(tmp_path.iterdir()), "the file has no name: nothing is left by a kill"


def test_writes_in_parts_are_completed(tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, position: write(file, data[:5], position))
    with DiskArray(tmp_path, (4,), np.int32) as array:
        array.write(0, np.arange(12).reshape(3, 4))
        np.testing.assert_array_equal(array.read(0, 3), np.arange(12).reshape(3, 4))


def test_a_full_disk_is_an_error_for_the_user(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with (
        DiskArray(tmp_path, (4,), np.int32) as array,
        pytest.raises(UserError, match=r"kept in .* cannot be written: the disk is full.*--out"),
    ):
        array.write(0, np.zeros((1, 4)))
