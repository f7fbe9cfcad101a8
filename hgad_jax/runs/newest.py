"""The newest whole checkpoint of a folder: others are damaged, or come and go while training is at it."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax

from hgad_jax.errors import UserError
from hgad_jax.runs import processes
from hgad_jax.runs.seal import damage

T = TypeVar("T")
_NONE = -1  # in place of a step
_LAG = 120  # seconds after which a file system shows to all what one process wrote


def steps(folder: Path) -> list[int]:
    """Steps of the finished checkpoints in a folder, the newest first."""
    return sorted((int(path.name) for path in folder.glob("*") if path.name.isdigit()), reverse=True)


def newest_whole(folder: Path) -> int | None:
    """Step of the newest whole checkpoint, None without one; newer damaged ones are warned of.

    Of several processes the first looks, and the others wait until they see the same.

    Raises:
      UserError: there are checkpoints and all are damaged.
    """
    step = processes.first_decides(lambda: _newest_whole(folder))
    if step == _NONE:
        return None
    if not processes.is_first():
        wait_until(lambda: damage(folder / str(step)) is None, f"{folder / str(step)} whole")
    return step


def _newest_whole(folder: Path) -> int:
    listed, damaged = steps(folder), {}
    for step in listed:
        reason = damage(folder / str(step))
        if reason is not None:
            damaged[step] = reason
            continue
        if damaged and _has_gone_on(folder, listed):
            return _newest_whole(folder)
        for newer, found in damaged.items():
            logging.getLogger("absl").warning(
                "%s/%d: this checkpoint is damaged (%s). It is SKIPPED for the one before, of step %d.",
                *(folder, newer, found, step),
            )
        return step
    if damaged and _has_gone_on(folder, listed):
        return _newest_whole(folder)
    if damaged:
        raise cannot_be_read(folder, listed[0], damaged[listed[0]])
    return _NONE


def _has_gone_on(folder: Path, listed: Sequence[int]) -> bool:
    """Whether training has saved another checkpoint since, and may have deleted some of those listed."""
    return max(steps(folder), default=0) > max(listed)


def read_newest(folder: Path, read: Callable[[int], T]) -> T | None:
    """What is read of the newest whole checkpoint, None without one.

    Training keeps the newest few only: if this one is deleted while it is read, a newer one is read.

    Args:
      folder: of checkpoints.
      read: called with a step; raises a UserError for whatever is wrong with it.
    """
    while (step := newest_whole(folder)) is not None:
        try:
            return read(step)
        except UserError:
            if not _has_gone_on(folder, [step]):
                raise
    return None


def wait_until(seen: Callable[[], bool], what: str) -> None:
    """Waits for a file system that shows to other processes later what the first one wrote.

    Raises:
      UserError: it does not.
    """
    end = time.monotonic() + _LAG
    while not seen():
        if time.monotonic() > end:
            raise UserError(
                f"Process {jax.process_index()} of {jax.process_count()} does not see {what} after {_LAG} s, "
                "which the first one sees. They need the same --workdir, on a file system that they share."
            )
        time.sleep(0.1)


def cannot_be_read(folder: Path, step: int, reason: str) -> UserError:
    """What to raise for a checkpoint."""
    older = [s for s in steps(folder) if s < step and damage(folder / str(s)) is None]
    remedy = f"go on from step {max(older)}" if older else "train anew"
    return UserError(
        f"{folder}/{step}: this checkpoint cannot be read ({reason}). It is cut short, "
        f"damaged or of another model. Move the folder away to {remedy}."
    )
