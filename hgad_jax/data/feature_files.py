"""How features lie on the disk: whole or not at all, with one writer at a time.

A cache is a folder of one ordinary .npy file per level, `[N, h, w, C]`, and of `key.json`, which says what is
in them. It is written under another name and renamed when it is whole, so that a killed writer leaves
nothing that looks like a cache.
"""

import contextlib
import errno
import glob
import json
import math
import mmap
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from absl import logging

from hgad_jax import files

# .npy knows no bfloat16, so its bits are stored as unsigned integers.
STORED = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
VALUES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
MB = 1e6  # bytes
_KEY_FILE = "key.json"
_UNFINISHED = ".tmp-"  # between a cache's name and a random one, while it is written
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)  # from reading what is not a cache


class LevelWriter:
    """Appends features to one .npy file per level.

    They are plain files, not memory maps: on a full disk a write raises an error, while a store to a
    mapped page kills the process.

    Args:
        folder: exists.
        num_examples: images to come in all, N.
        dtype: a key of `STORED`.
    """

    def __init__(self, folder: str, *, num_examples: int, dtype: str):
        self._folder, self._num_examples, self._dtype = folder, num_examples, dtype
        self._stack = contextlib.ExitStack()
        self._files: list[BinaryIO] = []
        self.shapes: list[tuple[int, ...]] = []
        self.written = 0

    def __enter__(self) -> "LevelWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def append(self, levels: Sequence[np.ndarray]) -> None:
        """Write float32 `[count, h, w, C]` per level; the first call settles the shapes."""
        shapes = [(self._num_examples, *level.shape[1:]) for level in levels]
        if not self._files:
            self._create(shapes)
        if shapes != self.shapes:
            raise ValueError(
                f"levels of shapes {[s[1:] for s in shapes]} after {[s[1:] for s in self.shapes]}"
            )
        for file, level in zip(self._files, levels, strict=True):
            values = np.ascontiguousarray(level.astype(VALUES[self._dtype]))
            file.write(values.view(STORED[self._dtype]).data)
        self.written += len(levels[0])

    def finish(self) -> int:
        """Bring everything to the disk and return the size in bytes."""
        if self.written != self._num_examples:
            raise ValueError(f"the batches held {self.written} examples, expected {self._num_examples}")
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        return sum(file.tell() for file in self._files)

    def _create(self, shapes: list[tuple[int, ...]]) -> None:
        dtype = STORED[self._dtype]
        size = sum(math.prod(shape) for shape in shapes) * dtype.itemsize
        if size > shutil.disk_usage(self._folder).free:  # said now, not after hours
            raise OSError(errno.ENOSPC, f"{size / MB:.0f} MB are needed")
        for number, shape in enumerate(shapes):
            file = open(_level_path(self._folder, number), "wb")  # noqa: SIM115 - the stack closes it
            self._files.append(self._stack.enter_context(file))
            descr = np.lib.format.dtype_to_descr(dtype)
            np.lib.format.write_array_header_1_0(
                file, {"descr": descr, "fortran_order": False, "shape": shape}
            )
        self.shapes = shapes


@contextlib.contextmanager
def unfinished(final: str) -> Iterator[str]:
    """Give a folder to write the cache `final` in; it is gone afterwards, unless published."""
    folder = f"{final}{_UNFINISHED}{uuid.uuid4().hex}"
    os.mkdir(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(
    folder: str,
    final: str,
    contents: Mapping[str, Any],
    *,
    shapes: Sequence[tuple[int, ...]],
    seconds: float,
) -> None:
    """Describe a finished folder and give it its final name; call it with the lock held."""
    key = {**contents, "shapes": shapes, "seconds": round(seconds, 1)}
    files.write_atomically(os.path.join(folder, _KEY_FILE), json.dumps(key, indent=1))
    shutil.rmtree(final, ignore_errors=True)  # a damaged one
    os.replace(folder, final)


def read(final: str, contents: Mapping[str, Any]) -> tuple[tuple[np.ndarray, ...] | None, str]:
    """Map a cache's levels into memory.

    Args:
        final: the folder.
        contents: what `key.json` must say, `dtype` among it.

    Returns:
        The levels `[N, h, w, C]` and "", or None and what is wrong: "" where there is no cache.
    """
    if not os.path.isdir(final):
        return None, ""
    try:
        stored = json.loads(files.read_text(os.path.join(final, _KEY_FILE)))
        shapes = [tuple(shape) for shape in stored.pop("shapes")]
        stored.pop("seconds", None)
        if stored != contents:
            return None, f"{_KEY_FILE} describes other features"
        paths = [_level_path(final, number) for number in range(len(shapes))]
        dtype = contents["dtype"]
        return tuple(_map_level(path, s, dtype) for path, s in zip(paths, shapes, strict=True)), ""
    except _DAMAGED as error:
        return None, f"{type(error).__name__}: {error}"


def describe(final: str) -> str:
    """Size of a whole cache and the time that it took to compute, for the log."""
    stored = json.loads(files.read_text(os.path.join(final, _KEY_FILE)))
    levels = (_level_path(final, number) for number in range(len(stored["shapes"])))
    return f"{sum(map(os.path.getsize, levels)) / MB:.1f} MB, {stored.get('seconds', 0.0):.1f} s"


def _map_level(path: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    level = np.load(path, mmap_mode="r")  # refuses a file that is too short
    if level.shape != shape or level.dtype != STORED[dtype]:
        raise ValueError(f"{path} holds {level.dtype} {level.shape}, expected {STORED[dtype]} {shape}")
    if os.path.getsize(path) != level.offset + level.nbytes:
        raise ValueError(f"{path} has {os.path.getsize(path)} bytes, expected {level.offset + level.nbytes}")
    return level.view(VALUES[dtype])


def forget(level: np.ndarray) -> None:
    """Unmap the pages of a level that were read, so that they do not count as the process's memory.

    The system keeps them in its cache of the disk as long as there is room.
    """
    pages = getattr(level, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def _level_path(folder: str, number: int) -> str:
    return os.path.join(folder, f"level{number}.npy")


def locked(final: str, *, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
    """Hold the right to write the cache `final`; gives whether it is held."""
    return files.locked(
        f"{final}.lock",
        wait=wait,
        waiting=lambda: logging.info("Another process computes the features of %s: waiting for it.", final),
    )


def remove_leftovers(held: str) -> None:
    """Remove the unfinished folders of dead writers: those whose lock is free, or is ours, of `held`."""
    for path in glob.glob(f"{glob.escape(os.path.dirname(held))}/*{_UNFINISHED}*"):
        final = path.rpartition(_UNFINISHED)[0]
        # Left alone: a living writer's, and another user's.
        with contextlib.suppress(PermissionError), _free(final, held) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)


def _free(final: str, held: str) -> contextlib.AbstractContextManager[bool]:
    return contextlib.nullcontext(True) if final == held else files.locked(f"{final}.lock", wait=False)


def disk_errors(directory: str) -> contextlib.AbstractContextManager[None]:
    """Turn what a disk refuses into a `UserError` that says what to do."""
    return files.disk_errors(
        f"The cache of features cannot be kept in '{directory}'",
        otherwise="choose another folder for the cache",
    )
