"""The backbone over all devices, and over all processes where they fill a cache of features together."""

import contextlib
import functools
import math
from collections.abc import Callable, Generator, Sequence

import jax
import numpy as np

from hgad_jax.backbones.levels import Levels
from hgad_jax.data.geometry import Transform
from hgad_jax.data.pipeline import image_batches
from hgad_jax.data.records import Record
from hgad_jax.runs.mesh import data_mesh, per_image

_EACH = 8  # images at a time through the backbone of a device

Features = tuple[np.ndarray, ...]  # [B, h, w, C] per level


def features_of(levels: Levels, images: np.ndarray, *, together: bool = False) -> Features:
    """Features of uint8 images `[B, S, S, 3]`.

    Args:
      levels: the backbone.
      images: of this process, whose devices they are spread over.
      together: `images` are the batch of all processes instead, of which each reads its own rows; they are
        spread over all devices, and every process gets all features.
    """
    apply = _spread(levels.apply, together)
    most = _EACH * (jax.device_count() if together else jax.local_device_count())
    parts = [apply(levels.variables, images[i : i + most]) for i in range(0, len(images), most)]
    return tuple(np.concatenate(level) for level in zip(*parts, strict=True))


@functools.lru_cache(maxsize=4)  # else it would be compiled at every call
def _spread(apply: Callable, together: bool) -> Callable:
    return per_image(apply, replicated=1, mesh=data_mesh(None if together else jax.local_devices()))


def images_to_extract(
    records: Sequence[Record], transform: Transform, *, num_workers: int
) -> Generator[dict[str, np.ndarray]]:
    """Batches as `image_batches` gives them, as many images as the devices of all processes take at once.

    With several processes each decodes its own rows, see `shared_batches`.
    """
    processes, examples = jax.process_count(), len(records) * transform.num_tiles
    most = _EACH * jax.local_device_count()
    if processes == 1:
        # Few images are not filled up to a batch for each device.
        size = most if examples >= most else _EACH
        return image_batches(records, transform=transform, batch_size=size, num_workers=num_workers)
    unit = math.lcm(jax.local_device_count(), transform.num_tiles)  # whole images, as many on each device
    own = unit * (-(-most // unit) if examples >= most * processes else 1)
    return shared_batches(
        records,
        transform,
        own,
        num_workers=num_workers,
        process_index=jax.process_index(),
        process_count=processes,
    )


def shared_batches(
    records: Sequence[Record],
    transform: Transform,
    own: int,
    *,
    num_workers: int,
    process_index: int,
    process_count: int,
) -> Generator[dict[str, np.ndarray]]:
    """The batches of `image_batches`, `process_count` times `own` examples each, but for the images.

    Of these the process decodes its own rows, one process after the other; the rest is zeros, which take no
    memory until they are read. `own` is a multiple of an image's tiles.
    """
    images, examples = own // transform.num_tiles, len(records) * transform.num_tiles
    mine = [record for i, record in enumerate(records) if i // images % process_count == process_index]
    batches = image_batches(mine, transform=transform, batch_size=own, num_workers=num_workers)
    with contextlib.closing(batches):
        for start in range(0, examples, own * process_count):
            index = np.arange(start, start + own * process_count, dtype=np.int32)
            valid = index < examples
            side = transform.size * transform.detail
            image = np.zeros((len(index), side, side, 3), np.uint8)
            batch = next(batches, None)  # the last ones may have nothing for this process
            if batch is not None:
                image[process_index * own :][:own] = batch["image"]
            yield {"image": image, "index": np.where(valid, index, 0), "valid": valid}
