"""Runs jobs, as many at a time as there are devices; those that are finished are left as they are."""

import concurrent.futures
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hgad_jax import files
from hgad_jax.errors import UserError
from hgad_jax.exit_status import STOPPED
from hgad_jax.reproducing.job import PROGRAM, Job, Places, commands, config_of
from hgad_jax.runs import workdir

_ASKED = "import jax; d = jax.local_devices(); print(d[0].platform, len(d))"
_LOCK = ".lock"
Environment = Mapping[str, str]


class Done(NamedTuple):
    """How the runs went: name of a job → why it failed."""

    failed: Mapping[str, str]
    seconds: float


def results_path(job: Job, places: Places) -> Path:
    """Of the evaluation of a job."""
    return places.workdir(job) / "eval" / "results.json"


def results_of(job: Job, places: Places) -> dict[str, Any] | None:
    """What a job's evaluation wrote; None if it is not finished."""
    path = results_path(job, places)
    if not path.is_file():
        return None
    try:
        results = json.loads(files.read_text(path))
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}). Delete it: it is made again.") from error
    if "--normality" in job.evaluation and "ks" not in results:
        return None
    if "--report" in job.evaluation and not path.with_name("report.html").is_file():
        return None
    return results


def devices() -> list[Environment]:
    """What the environment of a process has to say so that it gets one device: one for each there is.

    Several CPUs are one device: a training uses all of them.
    """
    asked = subprocess.run([sys.executable, "-c", _ASKED], capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"jax finds no device to compute on: {last_error(asked.stderr)}")
    platform, number = asked.stdout.split()[-2:]
    if platform in ("gpu", "cuda") and int(number) > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = visible.split(",") if visible else [str(i) for i in range(int(number))]
        return [{"CUDA_VISIBLE_DEVICES": name} for name in names]
    if platform == "tpu" and int(number) > 1:
        one = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
        return [{"TPU_VISIBLE_CHIPS": str(i), **one} for i in range(int(number))]
    return [{}]


def run_all(
    jobs: Sequence[Job],
    places: Places,
    *,
    log: Callable[[str], None],
    program: Sequence[str] = PROGRAM,
    slots: Sequence[Environment] | None = None,
) -> Done:
    """Trains and evaluates what is not finished yet; one that fails leaves the others going.

    Killed at any point, the same call goes on: finished jobs have their results, a training has its
    checkpoints.

    Args:
      jobs: to be run.
      places: where.
      log: gets a line for each job that ends.
      program: the command line before `train` and `eval`.
      slots: environments, each for one job at a time; None: one for each device.
    """
    start = time.monotonic()
    wanted = [job for job in jobs if not _finished(job, places)]
    if len(wanted) < len(jobs):
        log(f"{len(jobs) - len(wanted)} of {len(jobs)} models are finished already")
    if not wanted:
        return Done({}, 0.0)
    free: queue.Queue[Environment] = queue.Queue()
    for slot in devices() if slots is None else slots:
        free.put(slot)
    running, failed = _Running(), {}
    with concurrent.futures.ThreadPoolExecutor(free.qsize()) as pool:
        futures = {pool.submit(_one, job, places, program, free, running): job for job in wanted}
        try:
            for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
                job, why = futures[future], future.result()
                if why:
                    failed[job.name] = why
                log(_progress(number, len(wanted), job, why, len(failed), time.monotonic() - start))
        except BaseException:  # asked to stop: the trainings keep what they have, and nothing new is begun
            for future in futures:
                future.cancel()
            running.stop()
            raise
    return Done(failed, time.monotonic() - start)


class _Running:
    """The processes that are there now."""

    def __init__(self):
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopping = False

    def call(self, command: Sequence[str], **settings: Any) -> int:
        """Runs a command to its end and returns its status."""
        with self._lock:
            if self._stopping:
                return STOPPED
            process = subprocess.Popen(command, **settings)
            self._processes.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._processes.discard(process)

    def stop(self) -> None:
        """Asks all of them to end, and lets none begin."""
        with self._lock:
            self._stopping = True
            for process in self._processes:
                process.terminate()


def _one(job: Job, places: Places, program: Sequence[str], free: queue.Queue, running: _Running) -> str:
    """Trains and evaluates; returns why that failed, "" if it did not."""
    path = places.out / "logs" / f"{job.name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    slot = free.get()
    try:
        _wait_for_another(places.workdir(job))
        for command in commands(job, places):
            with path.open("ab") as output:
                begin = output.tell()
                status = running.call(
                    [*program, *command],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=os.environ | dict(slot),
                )
            if status:
                with path.open("rb") as written:
                    written.seek(begin)
                    said = written.read().decode(errors="replace")
                ended = f"ended by signal {-status}" if status < 0 else f"exit status {status}"
                return f"{command[0]}: {last_error(said) or 'nothing was said'} ({ended}; {path})"
        return ""
    finally:
        free.put(slot)


def _wait_for_another(folder: Path) -> None:
    """Of a parent that was killed a training may be left, which goes on to its end."""
    if (folder / _LOCK).exists():
        with files.locked(folder / _LOCK):
            pass


def _finished(job: Job, places: Places) -> bool:
    """Whether a job has its results, which are those of its config.

    Raises:
      UserError: the folder holds a run with another config.
    """
    if results_of(job, places) is None:
        return False
    there = workdir.config_as_json(workdir.load_config(places.workdir(job)))
    workdir.refuse_another(places.workdir(job), there, config_of(job, places), anywhere=True)
    return True


def last_error(said: str) -> str:
    """What a command said went wrong, in a line; "" if it said nothing."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]


def _progress(number: int, total: int, job: Job, why: str, failed: int, seconds: float) -> str:
    left = seconds / number * (total - number) / 3600
    end = f"FAILED: {why}" if why else "done"
    rest = f"; about {left:.1f} h left" if number < total else ""
    return f"[{number} of {total}{f', {failed} failed' if failed else ''}] {job.name}: {end}{rest}"
