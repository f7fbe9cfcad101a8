"""Test images that are nearly the same as a training image: a leaky split, whose scores look too good.

Checking computes no features, so that only what small grey pictures show is found: an image saved again,
moved by little, brighter, the next frame of a film. Of exposures with other lamps it finds some.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from hgad_jax.data.decode import Decoded
from hgad_jax.data.problems import NOTE, Problem
from hgad_jax.data.records import Record, image_name

_SIDE = 32  # pixels: 1 KB an image is kept
_NEAR = 0.075  # distance of pictures of length one: next to none but real ones in four products
_RATIO = 0.5  # and of the distance to the tenth nearest at most: else all images of the class are alike
_NEIGHBOUR = 10
_STEPS = 32  # of brightness, to a deviation
_BLOCK = 512


class Seen(NamedTuple):
    """What is kept of an image: hash of the file, and its thumbnail."""

    digest: str
    thumbnail: bytes


def thumbnail(image: Decoded) -> bytes:
    """A small grey picture, whatever the image's brightness and contrast.

    Returns:
        uint8 `[32 · 32]` as bytes; empty for an image of one grey, which tells nothing.
    """
    pixels = image.pixels
    if isinstance(pixels, np.ndarray):
        grey = np.nan_to_num(pixels.astype(np.float32), posinf=0, neginf=0)
        pixels = Image.fromarray(grey.reshape(*grey.shape[:2], -1).mean(2))
    else:
        pixels = pixels.convert("L")
    small = np.asarray(pixels.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    deviation = small.std()
    if deviation <= 1e-6 * max(1.0, np.abs(small).max()):
        return b""
    return (128 + _STEPS * (small - small.mean()) / deviation).clip(0, 255).round().astype(np.uint8).tobytes()


def problems(records: Sequence[Record], seen: Sequence[Seen]) -> list[Problem]:
    """A note on the test images that are nearly the same as a training image of their class.

    Copies of files are left out: those are told of anyway.

    Args:
        records: of both splits.
        seen: of each.
    """
    names = [
        f"{image_name(records[test].path)}' ≈ '{image_name(records[train].path)}"
        for test, train in pairs(records, seen)
    ]
    if not names:
        return []
    summary = (
        f"{len(names)} test images are nearly the same as a training image (near-duplicates between train "
        "and test, a leaky split), so that test scores look better than they are"
    )
    remedy = "If they show the same part, take one of each away, or split by part."
    return [Problem(summary, tuple(names), remedy, NOTE)]


def pairs(records: Sequence[Record], seen: Sequence[Seen]) -> list[tuple[int, int]]:
    """Indices of test images, and of the training image that is nearly the same."""
    classes = collections.defaultdict(lambda: ([], []))
    for index, (record, one) in enumerate(zip(records, seen, strict=True)):
        if one.thumbnail:
            classes[record.class_name][record.split == "test"].append(index)
    found = []
    for train, test in classes.values():
        known, new = (_units([seen[i].thumbnail for i in indices]) for indices in (train, test))
        k = min(_NEIGHBOUR, len(train) // 4)
        for start in range(0, len(test) if train else 0, _BLOCK):
            distances = np.sqrt((2 - 2 * new[start : start + _BLOCK] @ known.T).clip(0))
            nearest = distances.argmin(1)
            least = distances.min(1)
            far = np.partition(distances, k - 1, 1)[:, k - 1] if k > 1 else np.full(len(least), np.inf)
            near = (least < _NEAR) & (least <= _RATIO * far)
            found += [(test[start + i], train[nearest[i]]) for i in np.flatnonzero(near)]
    return sorted(pair for pair in found if seen[pair[0]].digest != seen[pair[1]].digest)


def _units(thumbnails: Sequence[bytes]) -> np.ndarray:
    pictures = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, _SIDE**2).astype(np.float32)
    pictures -= pictures.mean(1, keepdims=True) if len(pictures) else 0
    return pictures / np.linalg.norm(pictures, axis=1, keepdims=True).clip(1e-6)
