"""Images that a run and its artefact are compared on, encoded as files are."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from hgad_jax.data import load_dataset
from hgad_jax.data.records import read_image_file
from hgad_jax.errors import UserError
from hgad_jax.inference.inputs import list_images

MOST_GIVEN, MOST_OF_RUN = 64, 16
_SIZES = ((96, 96, 3), (80, 128, 3), (150, 70, 1))  # height, width, colours of those that are made


def to_compare(config: Any, given: Sequence[str], log: Callable[[str], None]) -> list[bytes]:
    """Encoded images: those given, or made ones and some of the run's, as far as they can be reached.

    Args:
      config: of the run.
      given: files, folders, patterns; none: made ones and the run's.
      log: gets lines for the user.

    Raises:
      UserError: there is none among what is given, or it cannot be read.
    """
    if given:
        listed = list_images(list(given)).images
        chosen = _spread([image.path for image in listed], MOST_GIVEN)
        if len(chosen) < len(listed):
            log(f"of {len(listed)} images given, {len(chosen)} are compared")
        return [_content(path) for path in chosen]
    made = [_made(np.random.default_rng(i), *size) for i, size in enumerate(_SIZES)]
    try:
        dataset = load_dataset(config.data)
        records = [*_spread(dataset.test, MOST_OF_RUN // 2), *_spread(dataset.train, MOST_OF_RUN // 2)]
        own = [read_image_file(record.path) for record in records]
    except (UserError, OSError) as error:
        log(f"the images of the run cannot be reached, so made ones alone are compared ({_line(error)})")
        own = []
    return [*made, *own]


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be read: {error.strerror}. Mend it or give other --images."
        ) from error


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, from the first to the last."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[i] for i in places]


def _made(rng: np.random.Generator, height: int, width: int, colours: int) -> bytes:
    """Something with coarse and fine structure, as PNG."""
    coarse = rng.random((height // 8 + 1, width // 8 + 1, colours)).repeat(8, 0).repeat(8, 1)[:height, :width]
    pixels = (200 * coarse + 55 * rng.random((height, width, colours))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels if colours == 3 else pixels[..., 0]).save(file, "PNG")
    return file.getvalue()


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
