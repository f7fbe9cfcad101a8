"""What a run says of itself at its start, and how fast it goes."""

import time
from typing import Any

import jax
from jax.sharding import Mesh


def describe_devices(mesh: Mesh, batch_size: int, cache_bytes: int, steps: int) -> str:
    """Processes, devices, mesh, batch and size of the cache in one line."""
    kind = mesh.devices.flat[0].device_kind
    return (
        f"{jax.process_count()} process(es), {mesh.size} device(s) of kind {kind}, mesh data={mesh.size}; "
        f"batch {batch_size}, {batch_size // mesh.size} per device; cache {cache_bytes / 1e6:.1f} MB; "
        f"{steps} steps"
    )


class Pace:
    """Speed of training, measured between the moments at which the host has waited for the devices.

    Args:
      steps: of the whole run.
      batch_size: images a step.
    """

    def __init__(self, steps: int, batch_size: int, clock: Any = time.monotonic):
        self._steps, self._batch_size, self._clock = steps, batch_size, clock
        self._last: tuple[int, float] | None = None
        self._estimated = False

    def waited(self, done: int) -> tuple[float | None, str]:
        """To be called after a wait; `done` steps are done.

        Returns:
          Images per second since the last wait, None at the first, which has the time of compilation in
          it; and, at the second, a line with the estimated time to the end, else "".
        """
        last, self._last = self._last, (done, self._clock())
        if last is None:
            return None, ""
        rate = (done - last[0]) / max(self._last[1] - last[1], 1e-9)
        line = ""
        if not self._estimated and done < self._steps:
            line = f"{rate:.3g} steps/s: about {duration((self._steps - done) / rate)} to the end"
        self._estimated = True
        return rate * self._batch_size, line


def duration(seconds: float) -> str:
    """`"2 h 05 min"`, `"3 min 20 s"` or `"12 s"`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    return f"{seconds // 60} min {seconds % 60:02} s" if seconds >= 60 else f"{seconds} s"
