"""Whether images stay what they are while they are looked at."""

import contextlib
from collections.abc import Iterator, Sequence

from hgad_jax.data import Record, fingerprint
from hgad_jax.errors import UserError


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


def _state(records: Sequence[Record]) -> str:
    masks = [record._replace(path=record.mask) for record in records if record.mask is not None]
    return fingerprint([*records, *masks])
