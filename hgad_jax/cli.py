"""What the scripts share: flags parsed, errors for the user shown as such."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable

from absl import app, flags, logging
from tqdm import tqdm

from hgad_jax.config.by_name import by_file
from hgad_jax.errors import Interrupted, UserError


def say(line: str) -> None:
    """Shows a line to the user, above a progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def run(main: Callable[..., None], *, arguments: bool = False) -> None:
    """Parses flags and runs `main`; a `UserError` ends the program with its message and status 2.

    SIGTERM ends it with status 75, `EX_TEMPFAIL`; where training can save before, it does.

    Args:
      main: called without arguments.
      arguments: call it with the list of what is no flag on the command line, instead of refusing that.
    """

    def guarded(argv):
        if len(argv) > 1 and not arguments:
            _fail(f"Unexpected argument {argv[1]!r}: settings are given as --name=value.")
        logging.set_verbosity(logging.WARNING)  # what is meant for the user goes through `say`
        logging.get_absl_handler().setFormatter(None)
        signal.signal(signal.SIGTERM, _terminated)
        try:
            main(argv[1:]) if arguments else main()
        except UserError as error:
            _fail(str(error))
        except Interrupted as stop:
            _end(f"stopped: {stop}", os.EX_TEMPFAIL)
        except OSError as error:
            if not str(error).startswith("Configuration is not available"):
                raise
            _fail(str(error))  # --config names a file that is not there
        except KeyboardInterrupt:
            _fail("Interrupted. Running the same command again goes on from the last checkpoint.")

    show_any_name()
    with _config_errors():
        app.run(guarded, flags_parser=_parse)


def show_any_name() -> None:
    """Lets names of files that are not UTF-8 be printed, escaped, as they are to standard error anyhow."""
    if hasattr(sys.stdout, "reconfigure"):  # it may be closed, or a notebook's
        sys.stdout.reconfigure(errors="backslashreplace")


def _terminated(*_: object) -> None:
    raise Interrupted("SIGTERM, before there was anything to save. Running the same command begins again.")


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(by_file(argv))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # ml_collections raises these for unknown keys and values of another type
        _fail(f"{_named(argv, error)}\nEvery key with its range: python -m hgad_jax.config")
        raise  # not reached


def _named(argv: list[str], error: Exception) -> str:
    """The error with the flag it is about: ml_collections names the last part of an unknown key only."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    words = re.findall(r"\w+", text)
    key = words[0] if words else ""
    named = [a for a in argv if a.startswith("--config.") and key in a.split("=")[0].split(".")]
    if isinstance(error, KeyError | AttributeError) and named:
        return f"{named[0]}: unknown key. {' '.join(text.split())}"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextlib.contextmanager
def _config_errors():
    try:
        yield
    except UserError as error:  # raised by a config file while flags were parsed
        _fail(str(error))


def _fail(message: str) -> None:
    _end(f"error: {message}", 2)


def _end(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    sys.stderr.flush()
    sys.stdout.flush()
    jax = sys.modules.get("jax")
    if status == 2 and jax and jax.distributed.is_initialized():
        os._exit(status)  # an ordinary end would wait for the other processes, which wait for this one
    sys.exit(status)
