"""The cache of a frozen backbone's features: computed once, kept in files, read by index."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from hgad_jax.data import feature_files
from hgad_jax.errors import UserError
from hgad_jax.files import expanded
from hgad_jax.progress_bar import progress_bar

FORMAT_VERSION = 1  # part of every key: to be raised when the files change

Batch = Mapping[str, np.ndarray]


class FeatureCache(NamedTuple):
    """The features of N images.

    Attributes:
        directory: the folder of the files.
        levels: one `[N, h, w, C]` memory map per level, float32 or bfloat16, read-only.
    """

    directory: str
    levels: tuple[np.ndarray, ...]

    @property
    def num_examples(self) -> int:
        """The number of images, N."""
        return self.levels[0].shape[0]

    def gather(
        self,
        indices: np.ndarray,
        lines: Sequence[tuple] | None = None,
        *,
        levels: slice = slice(None),
    ) -> tuple[np.ndarray, ...]:
        """Read the features of some images.

        Args:
            indices: integers `[B]`, in any order, repeated or not.
            lines: per level that is read, rows and columns of the positions to read; all, if it is None.
            levels: which are read.

        Returns:
            A float32 `[B, h, w, C]` array per level that is read, in memory.

        Raises:
            IndexError: an index outside of 0..N-1.
        """
        indices = np.asarray(indices)
        if indices.size and not 0 <= indices.min() <= indices.max() < self.num_examples:
            raise IndexError(f"indices {indices.min()}..{indices.max()} of {self.num_examples} examples")
        gathered = []
        for number, level in enumerate(self.levels[levels]):
            of_images = indices if lines is None else np.ix_(indices, *lines[number])
            gathered.append(np.asarray(level)[of_images].astype(np.float32, copy=False))
            feature_files.forget(level)
        return tuple(gathered)


def open_or_build(
    directory: str,
    *,
    key: Mapping[str, Any],
    num_examples: int,
    batches: Callable[[], Iterable[Batch]],
    extract: Callable[[np.ndarray], Sequence[np.ndarray]],
    dtype: str = "float32",
    paths: Sequence[str] | None = None,
    progress: bool = True,
    log: Callable[[str], None] = logging.info,
    any_process: Callable[[bool], bool] | None = None,
) -> FeatureCache:
    """Open the features stored under `key`, or compute and store them.

    Memory does not grow with the number of images. Of several processes that want the same features, one
    computes them and the others wait, or all compute them together. A damaged cache is rebuilt, with a
    warning.

    Args:
        directory: holds caches of any keys; made if need be.
        key: all that the features depend on (weights, levels, transform, image size, files), as JSON.
        num_examples: images, N.
        batches: called to build; gives dictionaries of `image`, `index` `[B]` (0..N-1 in order) and
            `valid` `[B]` (false only at the end), as `pipeline.image_batches` does.
        extract: from a batch's images to one `[B, h, w, C]` array per level.
        dtype: "float32", or "bfloat16" for half the size and 8 bits of precision.
        paths: of the images, to name one in an error.
        progress: whether to draw a bar while building, if there is a terminal.
        log: gets a line on what was built or found.
        any_process: for processes that call this at the same time, whose `batches` and `extract` work only if
            all of them go through them: whether anyone says true. On each disk, one of them writes.

    Raises:
        UserError: the disk is full or may not be written, or features are not finite.
        ValueError: an unknown dtype, or batches that are not as above: a caller's mistake.
    """
    if dtype not in feature_files.STORED:
        raise ValueError(f"dtype is '{dtype}', expected one of {sorted(feature_files.STORED)}")
    if num_examples < 1:
        raise ValueError(f"a cache needs at least one image, got {num_examples}")
    contents = {"format": FORMAT_VERSION, "dtype": dtype, "num_examples": num_examples, "key": dict(key)}
    contents = json.loads(json.dumps(contents))  # as it will be read back: tuples become lists
    directory = str(expanded(directory))
    final = os.path.join(directory, _digest(contents))

    # Before taking the lock: a whole cache on a read-only disk can still be opened.
    levels, _ = feature_files.read(final, contents)
    if levels is not None:
        log(f"Features of {num_examples} images found in {final}: {feature_files.describe(final)} saved")
    if any_process is not None:
        levels = _together(
            levels,
            final,
            contents,
            extracted=lambda: _extracted(batches, extract, paths),
            progress=progress,
            log=log,
            any_process=any_process,
        )
    elif levels is None:
        with _writable(directory), feature_files.locked(final):
            features = _extracted(batches, extract, paths)
            levels = _read_or_build(final, contents, features, progress=progress, log=log)
    return FeatureCache(final, levels)


@contextlib.contextmanager
def _writable(directory: str) -> Iterator[None]:
    with feature_files.disk_errors(directory):
        os.makedirs(directory, exist_ok=True)
        yield


def _together(
    levels: tuple[np.ndarray, ...] | None,
    final: str,
    contents: Mapping[str, Any],
    *,
    extracted: Callable[[], Iterator[Sequence[np.ndarray]]],
    progress: bool,
    log: Callable[[str], None],
    any_process: Callable[[bool], bool],
) -> tuple[np.ndarray, ...]:
    """What any process lacks, all compute; of those that share a disk, the one that gets the lock writes."""
    lacked = levels is None
    while any_process(levels is None):
        with contextlib.ExitStack() as held:
            writes = False
            if levels is None:
                held.enter_context(_writable(os.path.dirname(final)))
                writes = held.enter_context(feature_files.locked(final, wait=False))
            if any_process(writes):  # else another run is at it
                features = extracted()
                if writes:
                    levels = _read_or_build(
                        final, contents, features, progress=progress, log=lambda line: None
                    )
                for _ in features:
                    pass
        if levels is None:
            with _writable(os.path.dirname(final)), feature_files.locked(final):
                levels, _ = feature_files.read(final, contents)
    assert levels is not None  # no process lacks any
    if lacked:  # said by each, since one that does not write may be the one that speaks
        count, found = contents["num_examples"], feature_files.describe(final)
        log(f"Features of {count} images computed by all processes: {found}, in {final}")
    return levels


def _digest(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16]


def _read_or_build(
    final: str,
    contents: Mapping[str, Any],
    features: Iterable[Sequence[np.ndarray]],
    *,
    progress: bool,
    log: Callable[[str], None],
) -> tuple[np.ndarray, ...]:
    """Open what another process finished while we waited for the lock, or build."""
    levels, damage = feature_files.read(final, contents)
    if levels is not None:
        return levels
    if damage:
        logging.warning("The cache of features %s is damaged (%s) and is rebuilt.", final, damage)
    feature_files.remove_leftovers(final)
    log(_build(final, contents, features, progress=progress))
    levels, damage = feature_files.read(final, contents)
    if levels is None:
        raise UserError(
            f"The cache of features '{final}' was written but cannot be read ({damage}). Another program "
            "changes that folder or the disk fails: choose another folder for the cache."
        )
    return levels


def _build(
    final: str, contents: Mapping[str, Any], features: Iterable[Sequence[np.ndarray]], *, progress: bool
) -> str:
    """Write a cache and return a line about it."""
    start, total = time.monotonic(), contents["num_examples"]
    with (
        feature_files.unfinished(final) as folder,
        progress_bar(total=total, desc="features", unit="image", disable=None if progress else True) as bar,
    ):
        with feature_files.LevelWriter(folder, num_examples=total, dtype=contents["dtype"]) as writer:
            for levels in features:
                writer.append(levels)
                bar.update(len(levels[0]))
            size = writer.finish()
        seconds = time.monotonic() - start
        feature_files.publish(folder, final, contents, shapes=writer.shapes, seconds=seconds)
    return (
        f"Features of {total} images computed in {seconds:.1f} s: {size / feature_files.MB:.1f} MB in {final}"
    )


def _extracted(
    batches: Callable[[], Iterable[Batch]],
    extract: Callable[[np.ndarray], Sequence[np.ndarray]],
    paths: Sequence[str] | None,
) -> Iterator[list[np.ndarray]]:
    """Yield each batch's valid features, checked: a float32 `[count, h, w, C]` per level."""
    start = 0
    for batch in batches():
        count = int(batch["valid"].sum())
        if not np.array_equal(batch["index"][:count], np.arange(start, start + count)):
            raise ValueError(f"batch of examples {batch['index']}, expected them in order from {start}")
        levels = [np.asarray(level, np.float32)[:count] for level in extract(batch["image"])]
        for number, level in enumerate(levels):
            _refuse_not_finite(level, number, start, paths)
        yield levels
        start += count


def _refuse_not_finite(level: np.ndarray, number: int, start: int, paths: Sequence[str] | None) -> None:
    finite = np.isfinite(level).all(axis=(1, 2, 3))
    if finite.all():
        return
    index = start + int(np.argmin(finite))
    path = f" '{paths[index]}'" if paths else ""
    raise UserError(
        f"The features of image {index}{path} are not finite (level {number}). Look at the image; if it is "
        "sound, the backbone's weights are not: fetch them again."
    )
