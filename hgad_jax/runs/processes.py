"""Several processes as one program: how they find each other, and what only the first of them does."""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from hgad_jax.errors import UserError

HEARTBEAT = 60  # seconds without a sign of life after which a process counts as dead


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat: int = HEARTBEAT,
) -> None:
    """Joins the processes of a run; to be called before anything touches a device.

    Without arguments and without `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` in the
    environment, processes find each other where jax knows how: on Cloud TPU, in SLURM and under Open MPI. A
    process that is alone stays alone.

    Args:
      coordinator: "HOST:PORT" of the first process, reachable from all others.
      num_processes: in all.
      process_id: from 0.
      heartbeat: seconds after which a silent process counts as dead and the others end.

    Raises:
      UserError: arguments that do not belong together, or processes that do not meet.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    num_processes = _number(num_processes, "JAX_NUM_PROCESSES")
    process_id = _number(process_id, "JAX_PROCESS_ID")
    given = [value is not None for value in (coordinator, num_processes, process_id)]
    if not any(given) and not launched_as_several():
        return
    if any(given):
        _check(coordinator, num_processes, process_id)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=heartbeat,  # how long the first to end waits for the others
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes of this run do not meet: {str(error).splitlines()[0]}. Is --coordinator the "
            "address of process 0, reachable from here, and did all processes start with the same one?"
        ) from error


def launched_as_several() -> bool:
    """Whether this process was started as one of several where jax finds the others by itself."""
    environment = os.environ
    if (
        int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1
        or int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    ):
        return True
    chips = Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists()
    on_tpu = chips and importlib.util.find_spec("libtpu") is not None
    return on_tpu and environment.get("JAX_PLATFORMS", "tpu").startswith("tpu")


def refuse_several(script: str) -> None:
    """For a script that is one process.

    Raises:
      UserError: it was started as one of several.
    """
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES"):
        if (count := _number(None, name) or 1) > 1:
            raise UserError(
                f"{script} is one process, on all devices of its host, and was started as one of {count} "
                f"({name}={count} in the environment). Start it once: srun --ntasks=1, mpirun -n 1, or "
                f"env -u {name}."
            )


def is_first() -> bool:
    """Whether this process writes config, logs and reports."""
    # A process alone asks nothing of jax, whose devices would be settled by it.
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until all processes have come here."""
    multihost_utils.sync_global_devices(name)


def any_of(mine: bool) -> bool:
    """Whether it is true in any process; all of them have to ask."""
    return bool(multihost_utils.process_allgather(np.array(mine)).any())


def from_first(tree: Any) -> Any:
    """The first process's values of a pytree of arrays, in all processes: other hosts may round otherwise."""
    return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def text_from_first(text: str) -> str:
    """The first process's text, in all processes."""
    if jax.process_count() == 1:
        return text
    mine = np.frombuffer(text.encode(), np.uint8)
    length = int(from_first(np.int32(len(mine))))
    return from_first(np.resize(mine, length)).astype(np.uint8).tobytes().decode()


def first_decides(ask: Callable[[], int]) -> int:
    """What the first process answers, in all processes: only it asks, and what it is refused ends all.

    What lies in a shared folder they may see at different times, and what they do next they do together.

    Raises:
      UserError: it is refused.
    """
    if jax.process_count() == 1:
        return ask()
    answer, refusal = 0, None
    if is_first():
        try:
            answer = ask()
        except UserError as error:
            refusal = error
    answer, refused = from_first((np.int32(answer), np.int32(refusal is not None)))
    if refusal:
        raise refusal
    if refused:
        raise UserError(f"Process {jax.process_index()} ends, since the first one refuses: see its output.")
    return int(answer)


def refuse_different(text: str, what: str) -> None:
    """Ends all processes if they do not agree on a text.

    Args:
      text: this process's.
      what: is wrong with one whose text is not the first's.

    Raises:
      UserError: in all of them, with the numbers of those that differ.
    """
    if jax.process_count() == 1:
        return
    mine = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    everyone = multihost_utils.process_allgather(mine)
    others = [str(i) for i, digest in enumerate(everyone) if (digest != everyone[0]).any()]
    if others:
        raise UserError(
            f"Process {', '.join(others)} of {jax.process_count()} {what} than process 0. All of them need "
            "the same ones, on a file system that they share or on copies of it."
        )


@contextlib.contextmanager
def others_may_die() -> Iterator[None]:
    """Turns what a collective raises when another process is gone into a message."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        if "RESOURCE_EXHAUSTED" in str(error):
            raise UserError(
                f"Process {jax.process_index()} of {jax.process_count()} has too little memory "
                f"({str(error).splitlines()[0][:200]}). Give config.train.batch_size a lower value or "
                "config.train.micro_batches a higher one; the other processes end too."
            ) from error
        raise UserError(
            f"Process {jax.process_index()} of {jax.process_count()} ends, since another one has "
            f"({str(error).splitlines()[0][:200]}). Look at the others' output for the first error, then run "
            "the same command everywhere: it goes on from the last checkpoint."
        ) from error


def _number(flag: int | None, name: str) -> int | None:
    if flag is not None or name not in os.environ:
        return flag
    try:
        return int(os.environ[name])
    except ValueError as error:
        raise UserError(f"{name}={os.environ[name]} in the environment, expected a number.") from error


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    values: dict[str, str | int | None] = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    if coordinator is None or num_processes is None or process_id is None:
        missing = [name for name, value in values.items() if value is None]
        raise UserError(
            f"{', '.join(missing)} is missing: --coordinator=HOST:PORT, --num_processes and --process_id go "
            "together."
        )
    if ":" not in coordinator or not coordinator.rsplit(":", 1)[1].isdigit():
        raise UserError(f"--coordinator={coordinator}, expected HOST:PORT, the address of process 0.")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id} with --num_processes={num_processes}, expected 0 to "
            f"{num_processes - 1}."
        )
