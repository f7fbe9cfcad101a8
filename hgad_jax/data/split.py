"""Which good images are held out of training, to calibrate scores on."""

import collections
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from hgad_jax.data.problems import Problem
from hgad_jax.data.records import ImageFile, Record, image_name, read_image_file
from hgad_jax.errors import UserError

FEWEST = 4  # good images of a class: two to train on, two to calibrate on


def num_held_out(count: int, *, fraction: float, min_images: int) -> int:
    """How many of so many different good images of a class are held out: never more than half of them.

    None with a fraction of 0, whatever `min_images`.
    """
    if not fraction:
        return 0
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
    records: Sequence[Record],
    *,
    fraction: float,
    min_images: int,
    seed: int,
    groups: Sequence[int] | np.ndarray | None = None,
) -> tuple[list[int], list[int]]:
    """Splits good images, class by class, by a hash of their content.

    Equal images have equal hashes and stay on one side, so that a duplicate of a training image cannot
    make the held-out scores look too good. So do all images of a group; a class whose images are each of a
    group of their own is split as if there were none.

    Args:
      records: good images.
      fraction: share to hold out of each class; 0: none, all images are trained on.
      min_images: at least so many of each class, unless that would be more than half of them.
      seed: other seeds give other splits.
      groups: number of each image's group of near-duplicates, `[N]`; None: no groups.

    Returns:
      Indices to train on, and indices held out, both ascending.

    Raises:
      UserError: a class has too few different images, or too few groups of them.
    """
    if not fraction:
        return list(range(len(records))), []
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
        parts = _parts([hashes[i] for i in indices], None if groups is None else [groups[i] for i in indices])
        if parts is None:
            chosen = set(distinct[: max(2, wanted * len(distinct) // len(indices))])
        else:
            chosen = _whole_parts(parts, wanted, name)
            wanted = sum(hashes[i] in chosen for i in indices)
        if wanted < min_images:
            logging.warning(
                "Class '%s' has %d good images: only %d are held out for calibration, %d are advised.",
                *(name, len(indices), wanted, min_images),
            )
        held += [i for i in indices if hashes[i] in chosen]
        train += [i for i in indices if hashes[i] not in chosen]
    return sorted(train), sorted(held)


def _parts(hashes: list[str], groups: list[int] | None) -> list[list[str]] | None:
    """Hashes, one an image, of those that have to stay together, each part sorted, in an order by the seed.

    None where no two different images are of one group.
    """
    by_group: dict[int, set[str]] = {}
    for group, digest in zip(groups or (), hashes, strict=bool(groups)):
        by_group.setdefault(group, set()).add(digest)
    if all(len(part) == 1 for part in by_group.values()):
        return None
    part_of: dict[str, set[str]] = {}
    for members in by_group.values():
        whole = set(members).union(*(part_of.get(digest, ()) for digest in members))
        part_of |= dict.fromkeys(whole, whole)  # copies in two groups make one of them
    counts = collections.Counter(hashes)
    parts = {}
    for whole in part_of.values():  # the least of its hashes would bring large parts to the front
        parts[hashlib.sha256("".join(sorted(whole)).encode()).hexdigest()] = sorted(whole)
    return [[d for d in parts[key] for _ in range(counts[d])] for key in sorted(parts)]


def _whole_parts(parts: list[list[str]], wanted: int, name: str) -> set[str]:
    """Hashes of whole parts, about so many images, of two parts at least; as many parts are left."""
    if len(parts) < FEWEST:
        raise UserError(
            f"Class '{name}' has {len(parts)} groups of near-duplicates, expected at least {FEWEST}: some to "
            "train on, some to calibrate scores on, and whole groups are held out. Add images of other "
            "parts, or set config.calibration.groups to 'none': thresholds are then those of images that are "
            "almost known."
        )
    chosen, images = [], 0
    for part in parts:
        nearer = abs(images + len(part) - wanted) < abs(images - wanted)
        if nearer and len(chosen) < len(parts) - 2:
            chosen.append(part)
            images += len(part)
    others = sorted((part for part in parts if part not in chosen), key=len)
    chosen += others[: max(0, 2 - len(chosen))]
    return {digest for part in chosen for digest in part}


def _content_hash(image: ImageFile, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n".encode() + read_image_file(image)).hexdigest()
