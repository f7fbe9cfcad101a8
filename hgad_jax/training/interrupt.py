"""SIGTERM and notices of preemption: training saves after the step it is in, and ends.

Schedulers send SIGTERM before they take a machine away: Cloud TPU and preemptible VMs, SLURM, Kubernetes.
With several processes it may reach one of them only, and all must stop after the same step, since saving
takes all of them: there jax's preemption service catches the signal and agrees on that step.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils

from hgad_jax.errors import Interrupted


class StopRequest:
    """Whether training was asked to stop."""

    def __init__(self):
        self._signalled = False

    def set(self, *_: object) -> None:
        """Asks to stop; the arguments of a signal handler are taken and not looked at."""
        self._signalled = True

    def reached(self, step: int) -> bool:
        """Whether to stop after a step; to be called after every step, by every process."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._signalled


@contextlib.contextmanager
def watching() -> Iterator[StopRequest]:
    """Catches SIGTERM for the time of the block; only Python's main thread can, others see no requests."""
    stop = StopRequest()
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop.set)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def stopped(step: int, steps: int, directory: object) -> Interrupted:
    """What to raise once the state after `step` is saved."""
    return Interrupted(
        f"Asked to stop (SIGTERM or a notice of preemption): {directory} is saved after step {step} of "
        f"{steps}. Running the same command again goes on from there."
    )
