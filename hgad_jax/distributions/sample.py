"""A sample of the vectors of each class, of bounded size, in one pass over its images."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]  # maps [B, h, w, C] and class ids [B]

_EVERY = 10  # every so-manieth image of a class is set apart


class Sample(NamedTuple):
    """Of one class.

    Attributes:
      vectors: `[N, C]` float32, of the images that are not apart.
      apart: `[n, C]` float32, of images that gave none to `vectors`; of a single image the same as those.
    """

    vectors: np.ndarray
    apart: np.ndarray


class _Drawing(NamedTuple):
    """What is drawn of the images of a class, one after the other."""

    order: np.ndarray  # [n], positions in the class of images by turns, at random
    vectors: list[np.ndarray]
    apart: list[np.ndarray]


def samples(
    key: jax.Array, batches: Batches, counts: np.ndarray, *, candidates: int, apart: int
) -> Iterator[tuple[int, Sample]]:
    """Yields each class as soon as its last image has been read: memory is that of the classes begun.

    Args:
      key: of the choice.
      batches: of one level; read once.
      counts: images of each class `[K]`, at least one of each.
      candidates: at most so many `Sample.vectors`, N.
      apart: at most so many `Sample.apart`, n.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    seen, begun = np.zeros(len(counts), int), {}
    for maps, labels in batches():
        flat = np.asarray(maps, np.float32).reshape(len(maps), -1, maps.shape[-1])
        for vectors, k in zip(flat, np.asarray(labels), strict=True):
            drawing = begun.setdefault(int(k), _Drawing(rng.permutation(counts[k]), [], []))
            _draw(rng, drawing, vectors, int(seen[k]), int(counts[k]), candidates, apart)
            seen[k] += 1
            if seen[k] == counts[k]:
                yield int(k), _sample(begun.pop(int(k)), apart)


def _draw(rng, drawing: _Drawing, vectors: np.ndarray, index: int, count: int, most: int, most_apart: int):
    """Takes an image's share of what its class gives."""
    num_apart = 0 if count == 1 else max(1, count // _EVERY)
    turn = int(drawing.order[index])
    if turn < num_apart:
        into, size, images = drawing.apart, most_apart, num_apart
    else:
        into, size, images, turn = drawing.vectors, most, count - num_apart, turn - num_apart
    share = size // images + (turn < size % images)
    if share:
        chosen = rng.permutation(len(vectors))[:share]
        into.append(vectors[np.sort(chosen)])


def _sample(drawing: _Drawing, most_apart: int) -> Sample:
    vectors = np.concatenate(drawing.vectors)
    return Sample(vectors, np.concatenate(drawing.apart or [vectors[:most_apart]]))
