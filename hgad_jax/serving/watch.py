"""Scores each image that a camera writes into a folder, once, when it is whole."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hgad_jax import files
from hgad_jax.data.transforms import load
from hgad_jax.data.tree import IMAGE_SUFFIXES
from hgad_jax.errors import UserError
from hgad_jax.inference.plain_names import plain
from hgad_jax.inference.prediction_files import Outputs, output_name, prepare, write_outputs
from hgad_jax.inference.predictor import Predictor
from hgad_jax.serving.answers import fields
from hgad_jax.serving.ledger import Ledger, Seen
from hgad_jax.serving.models import SIZES, batch_of, open_model, warm_up

_CHUNK = 4 * SIZES[-1]  # images that are decoded while others are scored
_SHARE = 5  # of the time at most one part in so many goes into looking at the folder


class Settings(NamedTuple):
    """How a folder is watched.

    Attributes:
      every: seconds between two looks.
      settle: seconds for which size and time of a file must not change before it is read.
      patience: seconds after which a file that has not changed and cannot be read is given up.
      heatmaps: a folder to write heat maps to, in `heatmaps/`; None for none.
      skip_existing: whether what lies there at the very first start is left alone.
      class_name: of all images, where it is known.
      once: whether to end when nothing is left, instead of waiting for more.
    """

    every: float = 0.5
    settle: float = 1.0
    patience: float = 30.0
    heatmaps: Path | None = None
    skip_existing: bool = False
    class_name: str | None = None
    once: bool = False


class Counts(NamedTuple):
    """What came of it, in this run."""

    scored: int = 0
    anomalous: int = 0
    unreadable: int = 0


class _Waiting(NamedTuple):
    """A file that is not done: how it was, and since when it has not changed."""

    seen: Seen
    since: float
    tried: bool = False  # read, and it was no whole image


class _Read(NamedTuple):
    seen: Seen
    square: np.ndarray | None
    size: tuple[int, int]
    problem: str


def watch(
    model: str | Path,
    folder: str | Path,
    out: str | Path,
    settings: Settings,
    *,
    log: Callable[[str], None],
    stop: threading.Event | None = None,
    open_it: Callable[[str | Path], Predictor] = open_model,
) -> Counts:
    """Watches a folder until it is stopped.

    Args:
      model: path of a trained model.
      folder: that is watched, with all below it but what is hidden.
      out: file that gets a line of JSON for each image.
      settings: how.
      log: gets lines for the user.
      stop: ends it when set: what was begun is finished.
      open_it: from the path of a model to a predictor.

    Raises:
      UserError: no model, no folder, another watcher at work, a disk that is full.
    """
    folder, out, stop = files.expanded(folder), files.expanded(out), stop or threading.Event()
    _check(folder, out, settings)
    predictor = open_it(model)
    with files.disk_errors(
        f"Results cannot be written to '{out}'",
        otherwise="choose another --out",
        after="What is there is kept and nothing is lost; the same command goes on from it.",
    ):
        out.parent.mkdir(parents=True, exist_ok=True)
        with files.locked(out.with_name(out.name + ".lock"), wait=False) as held:
            if not held:
                raise UserError(f"Another hgad-jax watch writes to {out}: end it, or choose another --out.")
            ledger = Ledger(out)
            if settings.heatmaps:
                settings.heatmaps.mkdir(parents=True, exist_ok=True)
                prepare(settings.heatmaps, Outputs(heatmaps=True))
            warm_up(predictor, log, stopped=stop.is_set)
            return _Watcher(predictor, folder, ledger, settings, log, stop).run()


def _check(folder: Path, out: Path, settings: Settings) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder. Give the one that the camera writes to.")
    if settings.heatmaps and folder.resolve() in (settings.heatmaps / "heatmaps").resolve().parents:
        raise UserError(
            f"--heatmaps={settings.heatmaps} lies in the folder that is watched: heat maps would be taken "
            "for images. Choose a folder outside of it."
        )
    if out.is_dir():
        raise UserError(f"--out={out} is a folder, expected a file such as {out / 'scores.jsonl'}.")


class _Watcher:
    """One run of `watch`."""

    def __init__(
        self,
        predictor: Predictor,
        folder: Path,
        ledger: Ledger,
        settings: Settings,
        log: Callable[[str], None],
        stop: threading.Event,
    ):
        self._predictor, self._folder, self._ledger = predictor, folder, ledger
        self._settings, self._log, self._stop = settings, log, stop
        self._class_id = predictor.class_id(settings.class_name)
        self._waiting: dict[str, _Waiting] = {}
        self._done: dict[str, Seen] = {}  # how files were that are done: no key has to be made of them again
        self._counts = Counts()
        self._problems: set[str] = set()  # of the last look

    def run(self) -> Counts:
        """Looks, scores, waits, until it is stopped."""
        if self._settings.skip_existing and not len(self._ledger):
            self._ledger.skip(self._files())
        self._log(f"watching {self._folder}: {len(self._ledger)} files are done; Ctrl-C or SIGTERM ends it")
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode") as workers:
            while not self._stop.is_set():
                start = time.monotonic()
                ready = self._look()
                looked = time.monotonic() - start
                self._score_all(ready, workers)
                if self._settings.once and not self._waiting:
                    break
                if not ready:
                    self._stop.wait(max(self._settings.every, _SHARE * looked))
        return self._counts

    def _files(self) -> Iterator[Seen]:
        """The images of the folder as they are, each once; what cannot be looked at is said once."""
        problems, pending = set(), [""]
        while pending and not self._stop.is_set():
            inner = pending.pop()
            try:
                with os.scandir(self._folder / inner) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(f"{inner}{entry.name}/")
                        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                                status = entry.stat()
                                yield Seen(f"{inner}{entry.name}", status.st_size, status.st_mtime_ns)
            except OSError as error:
                if inner and isinstance(error, FileNotFoundError):
                    continue
                problems.add(
                    f"{self._folder / inner} cannot be read at the moment ({error.strerror}): waiting for it"
                )
        for problem in sorted(problems - self._problems):
            self._log(problem)
        self._problems = problems

    def _look(self) -> list[Seen]:
        """The files that are new and have settled, the oldest first."""
        now, ready = time.monotonic(), []
        waiting: dict[str, _Waiting] = {}
        done: dict[str, Seen] = {}
        for seen in self._files():
            if self._done.get(seen.file) == seen or self._ledger.has(seen):
                done[seen.file] = seen
                continue
            before = self._waiting.get(seen.file)
            if before is None or before.seen != seen:
                before = _Waiting(seen, now)
            waiting[seen.file] = before
            if now - before.since >= (self._settings.patience if before.tried else self._settings.settle):
                ready.append(seen)
        self._waiting, self._done = waiting, done
        return sorted(ready, key=lambda seen: (seen.modified, seen.file))

    def _score_all(self, ready: list[Seen], workers: ThreadPoolExecutor) -> None:
        """Decodes the next images while those before them are scored."""
        chunks = [ready[start : start + _CHUNK] for start in range(0, len(ready), _CHUNK)]
        ahead = [workers.submit(self._read, seen) for seen in chunks[0]] if chunks else []
        for number in range(len(chunks)):
            read = [future.result() for future in ahead]
            if self._stop.is_set():
                return
            following = chunks[number + 1] if number + 1 < len(chunks) else []
            ahead = [workers.submit(self._read, seen) for seen in following]
            self._settle(read)

    def _read(self, seen: Seen) -> _Read:
        path = self._folder / seen.file
        try:
            square, size, _ = load(path, self._predictor.scorer.transform)
            return _Read(seen, square, size, "" if _state(path) == seen[1:] else "it has changed meanwhile")
        except (UserError, OSError) as error:
            return _Read(seen, None, (0, 0), plain(str(error)))

    def _settle(self, read: list[_Read]) -> None:
        """Scores what could be read, and gives up what could not for long enough."""
        good = [one for one in read if not one.problem]
        while good:
            count, size = batch_of(len(good))
            self._score(good[:count], size)
            good = good[count:]
        given_up = []
        for one in read:
            if one.problem:
                waited = self._waiting[one.seen.file]
                if _state(self._folder / one.seen.file) != one.seen[1:]:
                    del self._waiting[one.seen.file]  # gone, or still being written: looked at anew
                elif waited.tried or self._settings.once:
                    given_up.append(one)
                else:
                    self._waiting[one.seen.file] = waited._replace(tried=True)
        if given_up:
            self._write([(one.seen, {"time": _now(), "error": one.problem}) for one in given_up])
            self._counts = self._counts._replace(unreadable=self._counts.unreadable + len(given_up))
            for one in given_up:
                self._log(f"cannot be read: {one.problem}")

    def _score(self, batch: list[_Read], size: int) -> None:
        found = self._predictor.decide(
            [one.square for one in batch if one.square is not None],
            [one.size for one in batch],
            self._class_id,
            batch_size=size,
            names=[one.seen.file for one in batch],
        )
        lines = []
        for one, decided in zip(batch, found, strict=True):
            said: dict[str, Any] = {"time": _now(), "height": one.size[0], "width": one.size[1]}
            if self._settings.heatmaps:
                said["heatmap"] = self._paint(one, decided)
            lines.append((one.seen, {**said, **fields(decided.prediction)}))
        self._write(lines)
        self._counts = self._counts._replace(
            scored=self._counts.scored + len(batch),
            anomalous=self._counts.anomalous + sum(d.prediction.anomalous for d in found),
        )

    def _paint(self, one: _Read, decided: Any) -> str | None:
        """Writes a heat map and returns its name; None if the image has gone meanwhile."""
        path, out = str(self._folder / one.seen.file), self._settings.heatmaps
        assert out is not None
        try:
            transform = self._predictor.scorer.transform
            write_outputs(out, Outputs(heatmaps=True), path, path, one.size, decided, transform)
        except UserError:
            return None
        return f"{output_name(path)}.png"

    def _write(self, lines: list[tuple[Seen, dict[str, Any]]]) -> None:
        self._ledger.append(lines)
        for seen, _ in lines:
            self._waiting.pop(seen.file, None)
            self._done[seen.file] = seen


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def until_signalled() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
