"""Which images results are of."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

from hgad_jax.data import Record, fingerprint
from hgad_jax.data.records import read_image_file
from hgad_jax.errors import UserError


def content_fingerprint(records: Sequence[Record]) -> str:
    """Hash of what labelled images are: content, class, defect and mask of each, wherever they lie.

    Neither names nor order have a part in it, so that the same images at another place have the same.

    Raises:
      UserError: a file cannot be read.
    """
    return hashlib.sha256(b"".join(sorted(map(_digest, records)))).hexdigest()


@contextlib.contextmanager
def unchanged(records: Sequence[Record]) -> Iterator[None]:
    """Refuses to go on after a block during which images or masks have changed.

    Raises:
      UserError: they have.
    """
    before = _state(records)
    yield
    if _state(records) != before:
        raise UserError(
            "Images or masks have changed while they were evaluated: the figures would be of no one set of "
            "images. Nothing was written; run the same command again when nobody changes them."
        )


def _digest(record: Record) -> bytes:
    mask = b"" if record.mask is None else read_image_file(record.mask)
    parts = [repr((record.class_name, record.defect)).encode(), read_image_file(record.path), mask]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def _state(records: Sequence[Record]) -> str:
    masks = [record._replace(path=record.mask) for record in records if record.mask is not None]
    return fingerprint([*records, *masks])
