"""Which good images are held out of training, to calibrate scores on."""

import hashlib
import math
from collections.abc import Mapping, Sequence

from absl import logging

from hgad_jax.data.problems import Problem
from hgad_jax.data.records import ImageFile, Record, image_name, read_image_file
from hgad_jax.errors import UserError

FEWEST = 4  # good images of a class: two to train on, two to calibrate on


def num_held_out(count: int, *, fraction: float, min_images: int) -> int:
    """How many of so many different good images of a class are held out: never more than half of them."""
    return min(max(math.ceil(fraction * count), min_images), count // 2)


def too_few(counts: Mapping[str, int], *, different: bool = False) -> list[Problem]:
    """Classes of which too few good images are left to train on, when some are held out.

    Args:
      counts: good images by class.
      different: whether copies were counted once, which is what matters in the end.
    """
    what = "different good images" if different else "good images"
    return [
        Problem(
            f"Class '{name}' has {count} {what}, expected at least {FEWEST}: some to train on, some to "
            "calibrate scores on",
            (),
            "Add images, or take the class away.",
        )
        for name, count in counts.items()
        if 0 < count < FEWEST
    ]


def hold_out(
    records: Sequence[Record], *, fraction: float, min_images: int, seed: int
) -> tuple[list[int], list[int]]:
    """Splits good images, class by class, by a hash of their content.

    Equal images have equal hashes and stay on one side, so that a duplicate of a training image cannot
    make the held-out scores look too good.

    Args:
      records: good images.
      fraction: share to hold out of each class.
      min_images: at least so many of each class, unless that would be more than half of them.
      seed: other seeds give other splits.

    Returns:
      Indices to train on, and indices held out, both ascending.

    Raises:
      UserError: a class has too few different images.
    """
    train, held = [], []
    hashes = [_content_hash(record.path, seed) for record in records]
    for name in sorted({record.class_name for record in records}):
        indices = [i for i, record in enumerate(records) if record.class_name == name]
        wanted = num_held_out(len(indices), fraction=fraction, min_images=min_images)
        distinct = sorted({hashes[i] for i in indices})
        if len(distinct) < FEWEST:
            raise UserError(
                f"Class '{name}' has {len(distinct)} different good images "
                f"(such as {image_name(records[indices[0]].path)}), expected at least {FEWEST}: some to "
                "train on, some to calibrate scores on. Add images."
            )
        if wanted < min_images:
            logging.warning(
                "Class '%s' has %d good images: only %d are held out for calibration, %d are advised.",
                *(name, len(indices), wanted, min_images),
            )
        chosen = set(distinct[: max(2, wanted * len(distinct) // len(indices))])
        held += [i for i in indices if hashes[i] in chosen]
        train += [i for i in indices if hashes[i] not in chosen]
    return sorted(train), sorted(held)


def _content_hash(image: ImageFile, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n".encode() + read_image_file(image)).hexdigest()
