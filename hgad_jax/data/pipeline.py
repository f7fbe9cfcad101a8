"""The input pipeline: images in order for a backbone, and shuffled indices for training."""

import contextlib
import functools
import itertools
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, cast

import grain
import numpy as np

from hgad_jax.data.geometry import Transform
from hgad_jax.data.records import Record
from hgad_jax.data.tiles import cut
from hgad_jax.data.transforms import load_image

_BATCHES_AHEAD = 2  # decoded while the current one is worked on


def image_batches(
    records: Sequence[Record],
    *,
    transform: Transform,
    batch_size: int,
    num_workers: int = 0,
    start: int = 0,
) -> Generator[dict[str, np.ndarray]]:
    """Decode images into batches of one shape, in the order of the records.

    With tiles, an example is a tile: image i gives the examples i·n² to (i + 1)·n² − 1.

    Args:
        records: the images.
        transform: that brings each to a square.
        batch_size: examples per batch.
        num_workers: threads that decode ahead of the consumer (Pillow decodes without holding the
            interpreter's lock); 0 decodes when asked. The batches do not depend on it.
        start: the first batch to yield, to go on where an earlier run stopped.

    Yields:
        `image` uint8 `[B, S·d, S·d, 3]`, d being the transform's detail; `index` int32 `[B]`, the number of
        the example (without tiles, the position in `records`); `valid` bool `[B]`, false for the zeros that
        fill up the last batch (their index is 0).

    Raises:
        UserError: an image cannot be read; raised when its turn comes.
    """
    first, skipped = divmod(start * batch_size, transform.num_tiles)
    # Cut and batched after the threads, so that each image is decoded once and they share those of a batch.
    images = threaded(
        lambda i: (i, load_image(records[i].path, transform)),
        range(min(first, len(records)), len(records)),
        num_workers=num_workers,
        ahead=_BATCHES_AHEAD * batch_size,
    )
    with contextlib.closing(images):
        examples = itertools.islice(_examples(images, transform), skipped, None)
        while batch := list(itertools.islice(examples, batch_size)):
            yield _pad(batch, batch_size)


def threaded(
    function: Callable[[int], Any], indices: Sequence[int], *, num_workers: int, ahead: int = 16
) -> Generator[Any]:
    """Yield a function of each index, in order, computed by threads ahead of the consumer.

    Args:
        function: called with an index; an error is raised when its turn comes.
        indices: to call it with.
        num_workers: threads; 0 computes when asked.
        ahead: results that may wait for the consumer.
    """
    threads = grain.ReadOptions(num_threads=num_workers, prefetch_buffer_size=ahead)
    results = iter(
        grain.MapDataset.range(len(indices)).map(lambda i: function(indices[i])).to_iter_dataset(threads)
    )
    try:
        yield from results
    finally:
        results.close()  # else the threads live until the garbage collector comes


def _examples(images: Iterator, transform: Transform) -> Iterator[dict[str, Any]]:
    """Yield the tiles of each image, or the image itself."""
    for i, image in images:
        tiles = cut(image, transform) if transform.tiles > 1 else (image,)
        for k, tile in enumerate(tiles):
            yield {
                "image": tile,
                "index": np.int32(i * transform.num_tiles + k),
                "valid": np.bool_(True),
            }


class Order(Protocol):
    """The examples of every step."""

    def __getitem__(self, step: int, /) -> np.ndarray:
        """Those of one."""
        ...


def training_indices(
    num_examples: int, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> Order:
    """Make the endless order of training: each epoch shuffles all examples anew.

    A batch may hold the end of one epoch and the start of the next, so that every batch is full
    and no example is dropped. The order is a function of the step alone: to resume, start at the step.

    Args:
        num_examples: in an epoch.
        batch_size: examples per step, over all processes.
        seed: not negative; other seeds give unrelated orders.
        process_index: which slice of each batch to give.
        process_count: slices. Every process computes the same order and takes its own slice, one after the
            other, so that together they are the batch of a single process.

    Returns:
        `order[step]` is int64 `[batch_size / process_count]`.

    Raises:
        ValueError: no examples, an empty batch, or one that the processes cannot share evenly.
    """
    own = process_slice(batch_size, process_index=process_index, process_count=process_count)
    if num_examples < 1 or batch_size < 1:
        raise ValueError(f"expected at least one example and one per batch: {num_examples}, {batch_size}")

    # Not grain's own shuffle: it takes milliseconds per index for small datasets, and its epoch e of a
    # seed is epoch e - 1 of the next seed.
    @functools.lru_cache(maxsize=2)  # a batch mostly touches one epoch or two
    def permutation(epoch: int) -> np.ndarray:
        # Sorted random bits: their stream is the same in every NumPy, unlike that of `permutation`.
        bits = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(num_examples)
        return np.argsort(bits, kind="stable")

    def batch(step: int) -> np.ndarray:
        epochs, positions = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), num_examples)
        return np.concatenate([permutation(int(e))[positions[epochs == e]] for e in np.unique(epochs)])[own]

    # A cast, since grain's elements may be None: those that a filter leaves out.
    return cast(Order, grain.MapDataset.range(sys.maxsize // batch_size).map(batch))


def process_slice(batch_size: int, *, process_index: int, process_count: int) -> slice:
    """The part of a batch that one of several processes works on.

    Raises:
        ValueError: no such process, or the batch cannot be shared evenly.
    """
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} of {process_count}")
    if batch_size % process_count:
        raise ValueError(f"a batch of {batch_size} cannot be shared by {process_count} processes")
    size = batch_size // process_count
    return slice(process_index * size, (process_index + 1) * size)


def _pad(examples: Sequence[dict[str, Any]], batch_size: int) -> dict[str, np.ndarray]:
    """Stack examples along a new first axis and fill it up with zeros."""
    batch = {}
    for name, first in examples[0].items():
        batch[name] = np.zeros((batch_size, *np.shape(first)), first.dtype)
        np.stack([example[name] for example in examples], out=batch[name][: len(examples)])
    return batch
