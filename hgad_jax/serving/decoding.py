"""Bytes that somebody sent, decoded as the model sees them; what is wrong with them is an error of theirs."""

import io
from typing import NamedTuple

import numpy as np

from hgad_jax.data.geometry import Transform
from hgad_jax.data.image_files import TooManyPixels
from hgad_jax.data.transforms import load
from hgad_jax.errors import UserError
from hgad_jax.inference.plain_names import plain

_LONGEST_NAME = 200


class Upload(NamedTuple):
    """An image as it was sent: what it is called, which is never looked up anywhere, and its bytes."""

    name: str
    content: bytes


class Unreadable(Exception):
    """What was sent cannot be decoded; the text is for whoever sent it."""


class _Named(io.BytesIO):
    """Bytes that messages call by a name."""

    name: str


def shown_name(name: str | None, number: int) -> str:
    """What to call the image in answers: the last part of the name that it was sent with, without surprises.

    Args:
      name: as it was sent.
      number: of the image in its request, from 1; for those without a name.
    """
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return plain(last)[:_LONGEST_NAME] or f"image {number}"


def decoded(upload: Upload, transform: Transform, max_pixels: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The square that the model sees, uint8 `[W·d, W·d, 3]`, and the image's own height and width.

    Raises:
      Unreadable: it is no image, damaged, too large, or of a kind that is not read.
    """
    file = _Named(upload.content)
    file.name = upload.name
    limit = min(max_pixels, transform.max_pixels)
    try:
        loaded = load(file, transform._replace(max_pixels=limit))
    except TooManyPixels as error:
        height, width = error.size
        raise Unreadable(
            f"'{upload.name}' has {width}×{height} pixels, and images of at most {limit} are taken. Make it "
            "smaller, or send it in parts."
        ) from error
    except UserError as error:
        raise Unreadable(str(error)) from error
    return loaded.pixels, loaded.size
