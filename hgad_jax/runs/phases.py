"""Where the time of a training goes: seconds of each phase, told at the end and kept in the run's folder."""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hgad_jax import files
from hgad_jax.runs import processes

FILE = "timing.json"
LISTING, FEATURES, FITTING, TRAINING, CALIBRATING = NAMES = (
    "listing",
    "features",
    "fitting",
    "training",
    "calibrating",
)


class Phases:
    """Seconds spent in each phase by this process; a phase within another counts as itself alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._done: dict[str, float] = {}
        self._clock = clock
        self._open: list[list[Any]] = []  # name, start and time of what is within, the innermost last

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts the time of a block."""
        self._open.append([name, self._clock(), 0.0])
        try:
            yield
        finally:
            _, start, within = self._open.pop()
            passed = self._clock() - start
            self._done[name] = self._done.get(name, 0.0) + passed - within
            if self._open:
                self._open[-1][2] += passed

    def seconds(self) -> dict[str, float]:
        """Of each phase so far, those that have not ended too."""
        found, now, inner = dict(self._done), self._clock(), 0.0
        for name, start, within in reversed(self._open):
            found[name] = found.get(name, 0.0) + now - start - within - inner
            inner = now - start
        return found


def save(directory: Path, seconds: dict[str, float], *, before: dict[str, float], images: int) -> None:
    """Keeps the times of a run, by its first process.

    Args:
      directory: of the run.
      seconds: of each phase since this start.
      before: of earlier starts that this one goes on from.
      images: in all steps of training so far.
    """
    if not processes.is_first():
        return
    total = {
        name: round(before.get(name, 0.0) + seconds.get(name, 0.0), 3)
        for name in NAMES
        if name in before or name in seconds
    }
    training = total.get(TRAINING, 0.0)
    content = {
        "seconds": total,
        "train_s": round(sum(total.values()), 3),
        "images_per_s": round(images / training, 3) if training and images else None,
        "peak_mb": round(peak_memory() / 1e6, 1),
    }
    files.write_atomically(directory / FILE, json.dumps(content, indent=1) + "\n")


def load(directory: Path) -> dict[str, Any]:
    """What was kept; {} where nothing was, or it cannot be read: times are no part of a run's results."""
    try:
        content = json.loads(files.read_text(directory / FILE))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def seconds_of(directory: Path) -> dict[str, float]:
    """Of each phase, as kept."""
    found = load(directory).get("seconds", {})
    known = found.items() if isinstance(found, dict) else ()
    return {name: float(value) for name, value in known if isinstance(value, int | float)}


def peak_memory() -> int:
    """The most memory that this process has had, bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def described(seconds: dict[str, float]) -> str:
    """A line for the user."""
    each = ", ".join(f"{name} {seconds[name]:.0f} s" for name in NAMES if name in seconds)
    return f"{each}; together {sum(seconds.values()):.0f} s, at most {peak_memory() / 1e9:.1f} GB of memory"
