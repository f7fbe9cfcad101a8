"""Images of many requests scored together: one thread at the device, a bounded queue before it."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from hgad_jax.inference.predictor import Decided
from hgad_jax.serving.models import SIZES, Model, batch_of

_WAIT = 0.1  # of the time of a batch


class Full(Exception):
    """There is no room for more images at the moment."""


class Job(NamedTuple):
    """An image that waits to be scored.

    Attributes:
      model: that it was decoded for.
      square: uint8 `[W·d, W·d, 3]`.
      size: its own height and width, pixels.
      class_id: None if unknown.
      name: for messages.
      result: where `Scored` is put.
      since: when it began to wait, on the monotonic clock.
    """

    model: Model
    square: np.ndarray
    size: tuple[int, int]
    class_id: int | None
    name: str
    result: "Future[Scored]"
    since: float


class Scored(NamedTuple):
    """What came of an image."""

    decided: Decided
    waited: float  # seconds, in the queue
    took: float  # seconds, of its whole batch at the device
    batch: int  # images in that batch


class Batcher:
    """Scores images in batches, in the order of their arrival, on one thread.

    While the device is busy images gather, and what has gathered is the next batch. A lone image is answered
    at once. Where there were several at a time, the next batch waits a moment, a tenth of what the last one
    took, for those who were just answered to ask again: else two halves of the clients would take turns, in
    batches of half the size.

    Args:
      room: images that may be accepted and not be answered yet.
      scored: told of each batch: its images and seconds.
    """

    def __init__(self, room: int, scored: Callable[[int, float], None] = lambda images, seconds: None):
        self._room, self._taken, self._told = room, 0, scored
        self._most = 0  # images that were accepted at a time since the last batch began
        self._took = 0.0  # seconds of the last batch
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    @property
    def taken(self) -> int:
        """Images that were accepted and are not answered yet."""
        return self._taken

    @contextlib.contextmanager
    def room_for(self, images: int) -> Iterator[None]:
        """Keeps room for so many images during the block.

        Raises:
          Full: there is not so much.
        """
        with self._changed:
            if self._taken + images > self._room:
                raise Full
            self._taken += images
            self._most = max(self._most, self._taken)
        try:
            yield
        finally:
            with self._changed:
                self._taken -= images

    def submit(
        self, model: Model, square: np.ndarray, size: tuple[int, int], class_id: int | None, name: str
    ) -> "Future[Scored]":
        """Puts an image into the queue, within `room_for`; if its future is cancelled, it is skipped."""
        job = Job(model, square, size, class_id, name, Future(), time.monotonic())
        with self._changed:
            if self._stopping:
                raise RuntimeError("an image was given to a batcher that is stopped")
            self._waiting.append(job)
            self._changed.notify()
        return job.result

    def stop(self) -> None:
        """Scores what waits and ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while jobs := self._next():
            chosen, size = jobs
            live = [job for job in chosen if job.result.set_running_or_notify_cancel()]
            if live:
                self._score(live, size)

    def _next(self) -> tuple[list[Job], int] | None:
        """The next batch: the first that waits, and those that can be scored together with it."""
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return None
                self._changed.wait()
            expected = min(self._most, SIZES[-1])
            self._changed.wait_for(
                lambda: len(self._waiting) >= expected or self._stopping, timeout=_WAIT * self._took
            )
            self._most = self._taken
            first = self._waiting[0]
            alike = [
                job
                for job in self._waiting
                if job.model.predictor is first.model.predictor and job.class_id == first.class_id
            ][: SIZES[-1]]
            named = first.class_id is not None and first.model.predictor.scorer.mode != "given"
            count, size = (1, 1) if named else batch_of(len(alike))
            chosen = alike[:count]
            taken = set(map(id, chosen))
            self._waiting = deque(job for job in self._waiting if id(job) not in taken)
            return chosen, size

    def _score(self, jobs: list[Job], size: int) -> None:
        start = time.monotonic()
        try:
            found = jobs[0].model.predictor.decide(
                [job.square for job in jobs],
                [job.size for job in jobs],
                jobs[0].class_id,
                batch_size=size,
                names=[job.name for job in jobs],
            )
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].result.set_exception(error)
            else:  # one image must not fail those of other requests
                for job in jobs:
                    self._score([job], 1)
            return
        took = self._took = time.monotonic() - start
        self._told(len(jobs), took)
        for job, decided in zip(jobs, found, strict=True):
            job.result.set_result(Scored(decided, start - job.since, took, len(jobs)))
