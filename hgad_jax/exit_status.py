"""How a command went, as its exit status, the same for every command.

    0   done
    1   done, but some images cannot be read or used; they are listed
    2   something that the user can mend; the message says what and how
    3   a fault of hgad_jax: a stack trace, and what to report with it
    75  asked to stop by SIGTERM (`EX_TEMPFAIL`: the same command goes on)

What ends a process from outside (SIGKILL, an abort of the system's or of XLA's) gives 128 plus the signal.
"""

import contextlib
import os
import platform
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator

import hgad_jax
from hgad_jax.errors import Interrupted, UserError
from hgad_jax.files import disk_errors

DONE, SOME_UNUSABLE, USERS, OURS, STOPPED = 0, 1, 2, 3, os.EX_TEMPFAIL

_DEVICES = "jax/_src/xla_bridge.py"  # the file of jax that looks for devices
_MEMORY = (
    "There is too little memory ({}). End other programs, or use less: smaller images, a lower "
    "config.train.batch_size, config.scoring.batch_size or config.data.workers."
)


def status_of(command: Callable[[], int | None]) -> int:
    """Runs a command; what goes wrong is said on standard error.

    Args:
      command: returns the status, or None for 0; `SystemExit` passes.
    """
    try:
        with _stoppable():
            status = command() or DONE
            _flush()
        return status
    except SystemExit:
        _give_up_closed()
        raise
    except UserError as error:
        return _end(f"error: {error}", USERS)
    except Interrupted as stop:
        return _end(f"stopped: {stop}", STOPPED)
    except KeyboardInterrupt:
        return _end("error: Interrupted. The same command goes on from what is finished.", USERS)
    except Exception as error:
        reason = _of_the_user(error)
        return _end(f"error: {reason}", USERS) if reason else _end(_report(error), OURS)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Makes SIGTERM an `Interrupted`; only Python's main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: object) -> None:
    raise Interrupted("SIGTERM. Running the same command again goes on from what is finished.")


def _end(message: str, status: int) -> int:
    readable = message.encode("utf-8", "backslashreplace").decode("utf-8")  # names may be no UTF-8
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        if sys.stderr is not None:
            print(readable, file=sys.stderr)
    _give_up_closed()
    return status


def _of_the_user(error: BaseException) -> str:
    """What the user can mend of an error that nothing closer to it has explained; "" if it is a fault."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if isinstance(error, BrokenPipeError):
        return (
            "Nobody reads the output any more (a closed pipe, as behind 'head'), so the command has ended. "
            "Send the output to a file to have all of it."
        )
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return _MEMORY.format(first[:200])
    if traceback.extract_tb(error.__traceback__)[-1].filename.endswith(_DEVICES):
        asked = os.environ.get("JAX_PLATFORMS")
        meant = f" Is JAX_PLATFORMS={asked} in the environment what is meant?" if asked else ""
        return f"jax finds no device to compute on ({first[:300]}).{meant}"
    return _of_the_disk(error)


def _of_the_disk(error: BaseException) -> str:
    name, trace = getattr(error, "filename", None), error.__traceback__
    place = "A file or the output" if name is None else f"'{os.fsdecode(name)}'"
    try:
        with disk_errors(f"{place} cannot be read or written"):
            raise error
    except UserError as explained:
        return str(explained)
    except Exception:
        return ""
    finally:
        error.__traceback__ = trace


def _report(error: BaseException) -> str:
    versions = [f"hgad_jax {hgad_jax.__version__}"]
    loaded = [name for name in ("jax", "jaxlib", "numpy") if name in sys.modules]
    versions += [f"{name} {sys.modules[name].__version__}" for name in loaded]
    versions += [f"Python {platform.python_version()}", platform.platform()]
    trace = "".join(traceback.format_exception(error)).rstrip()
    return (
        f"{trace}\nerror: This is a fault of hgad_jax, not of yours. Please report it where you have hgad_jax"
        f" from, with the command, the lines above and: {', '.join(versions)}."
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _give_up_closed() -> None:
    """What cannot be written to a closed output is dropped; else Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
