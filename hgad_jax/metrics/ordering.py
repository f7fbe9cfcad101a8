"""Sorts any number of scores in bounded memory, exactly: a radix sort on disk.

Scores are float32. Their bits, read as an integer, are in the order of the scores (with the sign seen to),
so that counts over the high 16 bits cut them into groups that fit into memory, all of a group above all of
the next; bins that are too full are counted again by the low 16 bits, where a bin is a single score. One
more pass writes every score to its group's place in a file, and each group is sorted when its turn comes.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt

from hgad_jax.disk import DiskArray

GROUP_SIZE = 2**20  # scores sorted in memory at a time
_PIECE = 2**16  # scores given out at a time: what is made of them takes far more memory than they do
_HALF = 2**16
_REFINED = 32  # crowded bins counted in one pass, half a megabyte each


def descending_key(scores: Float[np.ndarray, "*shape"]) -> UInt[np.ndarray, "*shape"]:
    """float32 → uint32, the lower the higher the score; equal scores have equal keys, 0 and -0 too."""
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.uint32)  # -0 + 0 is 0
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))


def score_of_key(keys: np.ndarray | np.uint32) -> Float[np.ndarray, "*shape"]:
    """The inverse of `descending_key`."""
    keys = np.asarray(keys, np.uint32)
    return np.where(keys >> 31, keys, ~keys & np.uint32(0x7FFFFFFF)).astype(np.uint32).view(np.float32)


def keys_of(packed: UInt[np.ndarray, "*shape"]) -> UInt[np.ndarray, "*shape"]:
    """Keys of packed scores, uint32."""
    return (packed >> np.uint64(32)).astype(np.uint32)


def labels_of(packed: UInt[np.ndarray, "*shape"]) -> UInt[np.ndarray, "*shape"]:
    """Labels of packed scores, uint32."""
    return packed.astype(np.uint32)  # the lower half


def sorted_groups(
    scored: Callable[[], Iterable[np.ndarray]],
    labelled: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    directory: str | Path,
    group_size: int = GROUP_SIZE,
) -> Iterator[np.ndarray]:
    """Yields all scores from the highest down, packed: uint64, the key above, the label below; ascending.

    Scores that are equal may be spread over several arrays that follow each other.

    `scored` is gone through once, twice where many scores crowd together, before `labelled` is, once, before
    the first group comes.

    Args:
      scored: gives the scores in parts, float32, finite.
      labelled: gives the same scores in parts, each with a uint32 per score that is carried along.
      directory: where 8 bytes a score are kept meanwhile.
      group_size: scores in memory at a time.
    """
    last, counts = _cut(scored, group_size)
    starts = np.concatenate([[0], np.cumsum(counts)])
    with DiskArray(directory, (), np.uint64) as file:
        _distribute(labelled(), last, starts, file)
        for start, stop in itertools.pairwise(starts):
            for begin in range(start, stop, group_size):
                packed = file.read(begin, min(begin + group_size, stop))
                packed.sort()
                yield from np.split(packed, range(_PIECE, len(packed), _PIECE))


def _cut(scored, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The last key of each group and its size: at most `group_size`, or all the scores of one key."""
    high = np.zeros(_HALF, np.int64)
    for scores in scored():
        high += np.bincount(descending_key(scores).ravel() >> 16, minlength=_HALF)
    crowded = np.flatnonzero(high > group_size)
    easy = np.flatnonzero((high > 0) & (high <= group_size))
    last, counts = [(easy << 16) | (_HALF - 1)], [high[easy]]
    for begin in range(0, len(crowded), _REFINED):
        for value, low in _refine(scored, crowded[begin : begin + _REFINED]):
            found = np.flatnonzero(low)
            last.append((value << 16) | found)
            counts.append(low[found])
    last, counts = np.concatenate(last), np.concatenate(counts)
    order = np.argsort(last)
    return _merge(last[order], counts[order], group_size)


def _refine(scored, values: np.ndarray) -> Iterable[tuple[int, np.ndarray]]:
    """Counts by the low 16 bits of the keys whose high 16 bits are one of `values`."""
    row = np.full(_HALF, -1)
    row[values] = np.arange(len(values))
    low = np.zeros(len(values) * _HALF, np.int64)
    for scores in scored():
        keys = descending_key(scores).ravel()
        rows = row[keys >> 16]
        inside = rows >= 0
        positions = rows[inside] * _HALF + (keys[inside] & np.uint32(_HALF - 1))
        np.add.at(low, positions, 1)
    return zip(values.tolist(), low.reshape(len(values), _HALF), strict=True)


def _merge(last: np.ndarray, counts: np.ndarray, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Joins neighbouring bins as long as they fit."""
    reached = np.cumsum(counts)
    ends, begin, before = [], 0, 0
    while begin < len(last):
        end = max(int(np.searchsorted(reached, before + group_size, "right")), begin + 1)
        ends.append(end - 1)
        begin, before = end, reached[end - 1]
    return last[ends], np.diff(reached[ends], prepend=0)


def _distribute(labelled, last: np.ndarray, starts: np.ndarray, file: DiskArray) -> None:
    """Writes the packed scores of each group next to each other, in no order."""
    cursors = starts[:-1].copy()
    ends = (last[:-1].astype(np.uint64) + np.uint64(1)) << np.uint64(32)
    for scores, labels in labelled:
        packed = (descending_key(scores).ravel().astype(np.uint64) << np.uint64(32)) | labels.ravel()
        packed.sort()
        cuts = np.searchsorted(packed, ends)
        for k, part in enumerate(np.split(packed, cuts)):
            if len(part):
                file.write(cursors[k], part)
                cursors[k] += len(part)
