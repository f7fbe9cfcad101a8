"""Arrays too large for memory: rows of one shape in a file that is gone when it is closed."""

import contextlib
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hgad_jax.files import disk_errors


class DiskArray:
    """`[rows, *shape]` in a nameless file of `directory`: nothing is left behind, even by a kill.

    Read and written by plain file operations and not memory-mapped: mapped pages count as the process's
    memory, so that nobody could see that it stays bounded.
    """

    def __init__(self, directory: str | Path, shape: Sequence[int], dtype):
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._row = math.prod(self.shape) * self.dtype.itemsize  # bytes
        self._directory = directory
        with self._disk_errors():
            self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115

    def _disk_errors(self) -> contextlib.AbstractContextManager[None]:
        return disk_errors(
            f"Scores, kept in '{self._directory}' while they are compared, cannot be written",
            otherwise="write to another disk with --out",
        )

    def write(self, start: int, rows: np.ndarray) -> None:
        """Writes `[n, *shape]` from row `start` on.

        Raises:
          UserError: the disk is full, or refuses it otherwise.
        """
        data, position = _bytes(np.ascontiguousarray(rows, self.dtype)), start * self._row
        with self._disk_errors():
            while data:
                written = os.pwrite(self._file.fileno(), data, position)
                data, position = data[written:], position + written

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`, `[n, *shape]`; rows never written are zeros or, past the last, an error."""
        out = np.empty((stop - start, *self.shape), self.dtype)
        data, position = _bytes(out), start * self._row
        while data:
            count = os.preadv(self._file.fileno(), [data], position)
            if not count:
                raise ValueError(f"rows {start} to {stop} are not all there")
            data, position = data[count:], position + count
        return out

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()


def _bytes(array: np.ndarray) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")
