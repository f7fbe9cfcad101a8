"""Reads single encoded images out of prepared datasets, by index, from any thread or process."""

import functools
import os
import threading
from typing import Any, cast

import tensorflow_datasets as tfds

from hgad_jax.data.datasets.place import Source, Stored
from hgad_jax.errors import UserError

_LOCK = threading.Lock()


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves the bytes of images as they are, in lists of images too."""

    def decode_batch_example_np(self, serialized_images: Any) -> Any:
        return serialized_images


def read(image: Stored) -> bytes:
    """Read the encoded bytes of an image.

    Raises:
        UserError: the prepared dataset is gone, damaged, or another one than when it was listed.
    """
    data = _opened(image.source)
    try:
        example = data[image.example]
        # A file cut short at certain places gives examples without content.
        if not example["name"] or not image.name.endswith(f"/{example['name'].decode()}"):
            raise ValueError("it is not in its place")
        return example["mask"][0] if image.field == "mask" else example["image"]
    except Exception as error:  # array_record and protobuf raise all sorts for damaged files
        raise _damaged(
            image.source, f"'{image.name}' cannot be read from it ({_first_line(error)})"
        ) from error


def _opened(source: Source) -> Any:
    """Give the open data source: one a process, since neither file handles nor threads survive a fork."""
    with _LOCK:
        return _open(source, os.getpid())


@functools.lru_cache(maxsize=16)
def _open(source: Source, process: int) -> Any:
    del process  # only a part of the key
    try:
        # A cast, since the decorator of the method below hides its arguments.
        builder = cast(Any, tfds.builder_from_directory(source.folder))
        return builder.as_data_source(source.split, decoders={"image": _Encoded(), "mask": _Encoded()})
    except Exception as error:
        raise _damaged(source, f"it cannot be opened ({_first_line(error)})") from error


def _damaged(source: Source, found: str) -> UserError:
    return UserError(
        f"The prepared dataset '{source.folder}' is damaged: {found}. Delete that folder and start again: "
        "it is prepared anew from what was downloaded."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
