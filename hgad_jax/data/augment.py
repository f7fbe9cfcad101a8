"""Images changed at random for training, as CFLOW-AD does. Their features cannot be cached."""

import itertools
import sys
from collections.abc import Generator, Sequence

import numpy as np
from PIL import Image

from hgad_jax.data.geometry import Transform
from hgad_jax.data.pipeline import threaded, training_indices
from hgad_jax.data.records import Record
from hgad_jax.data.tiles import tile_boxes
from hgad_jax.data.transforms import load_image

_STREAM = 1  # keeps these random numbers apart from those of the order


def rotate(rng: np.random.Generator, image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn an image about its centre by a random angle, evenly distributed in ±`degrees`.

    Each pixel takes the nearest one; what comes from outside is black. So does the published code.

    Args:
        rng: of which one number is drawn.
        image: uint8 `[S, S, 3]`.
        degrees: largest angle, either way; 0 leaves the image as it is.

    Returns:
        uint8 `[S, S, 3]`.
    """
    angle = degrees * (2 * rng.random() - 1)
    return np.asarray(Image.fromarray(image).rotate(angle, Image.Resampling.NEAREST))


def augmented_batches(
    records: Sequence[Record],
    *,
    transform: Transform,
    batch_size: int,
    seed: int,
    degrees: float,
    num_workers: int = 0,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray]]:
    """Yield batches of rotated images without end, in the order of `training_indices`.

    What a step gives depends on the seed and the step alone: not on the number of workers, nor on where an
    earlier run stopped; and an image gets the same angle however many processes share the batch.

    Args:
        records: the images.
        transform: that brings each to a square (its tiles are examples of their own).
        batch_size: examples per step, over all processes.
        seed: not negative.
        degrees: of `rotate`.
        num_workers: threads that decode ahead; 0 decodes when asked.
        start: first step to yield.
        process_index: which slice of each batch to yield.
        process_count: slices; divides the batch size.

    Yields:
        `image` uint8 `[B / processes, S, S, 3]` and `index` int64 `[B / processes]`, the examples' numbers.

    Raises:
        UserError: an image cannot be read; raised when its turn comes.
    """
    order = training_indices(
        len(records) * transform.num_tiles,
        batch_size=batch_size,
        seed=seed,
        process_index=process_index,
        process_count=process_count,
    )
    boxes, local = tile_boxes(transform), batch_size // process_count

    def example(position: int) -> tuple[np.ndarray, int]:
        step, slot = divmod(position, local)
        index = int(order[step][slot])
        number, tile = divmod(index, transform.num_tiles)
        image = load_image(records[number].path, transform, tile=boxes[tile])
        place = step * batch_size + process_index * local + slot  # in the order of all processes
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, _STREAM, place])))
        return rotate(rng, image, degrees), index

    positions = range(start * local, sys.maxsize // batch_size * local)
    examples = threaded(example, positions, num_workers=num_workers, ahead=2 * local)
    try:
        while True:
            images, indices = zip(*itertools.islice(examples, local), strict=True)
            yield {"image": np.stack(images), "index": np.array(indices)}
    finally:
        examples.close()
