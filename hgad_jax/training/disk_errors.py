"""What a disk refuses, said so that its owner can mend it."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hgad_jax.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turns an error of the disk into a `UserError`; whatever else is raised passes.

    Args:
      directory: of the run, whose finished checkpoints stay as they are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        code = _errno(error)
        if code not in _FULL + _FORBIDDEN:
            raise
        found = "the disk is full" if code in _FULL else "it may not be written"
        remedy = "Make room" if code in _FULL else "Change its permissions"
        raise UserError(
            f"{directory} cannot be written: {found} ({os.strerror(code)}). Checkpoints that were finished "
            f"before are kept. {remedy}, then run the same command to go on from the newest of them."
        ) from error


def _errno(error: BaseException | None) -> int | None:
    """The system's error number in an exception or what caused it; tensorstore has it in its text only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        if stated := re.search(r"\bOS error (\d+)\b", str(error)):
            return int(stated.group(1))
        error = error.__cause__ or error.__context__
    return None
