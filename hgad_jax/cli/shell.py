"""What the commands share: flags parsed, errors for the user shown as such, the exit status."""

import io
import os
import sys
import textwrap
from collections.abc import Callable

from absl import app, flags, logging
from tqdm import tqdm

from hgad_jax import mistyped
from hgad_jax.errors import UserError
from hgad_jax.exit_status import DONE, OURS, USERS, status_of

_KEYS = "Every key with its range: hgad-jax config"
_HELP = {"-h", "-help", "--help", "--helpshort", "--helpfull"}


def say(line: str) -> None:
    """Shows a line to the user, above a progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)


def run(main: Callable[..., int | None], *, module: str, arguments: bool = False) -> None:
    """Parses flags, runs `main` and ends the program with a status of `exit_status`.

    Args:
      main: called without arguments; returns the status, or None for 0.
      module: that the command's flags are defined in; its docstring is the head of --help.
      arguments: call it with the list of what is no flag on the command line, instead of refusing that.
    """

    def guarded(argv):
        if len(argv) > 1 and not arguments:
            raise UserError(f"Unexpected argument {argv[1]!r}: settings are given as --name=value.")
        logging.set_verbosity(logging.WARNING)  # what is meant for the user goes through `say`
        logging.get_absl_handler().setFormatter(None)
        return main(argv[1:]) if arguments else main()

    show_any_name()
    if _HELP & set(sys.argv[1:]):
        sys.exit(status_of(lambda: print(_help(module))))
    # absl would end with a status of its own.
    status = status_of(lambda: _code(lambda: app.run(guarded, flags_parser=_parse)))
    jax = sys.modules.get("jax")
    if status in (USERS, OURS) and jax and jax.distributed.is_initialized():
        os._exit(status)  # an ordinary end would wait for the other processes, which wait for this one
    sys.exit(status)


def _help(module: str) -> str:
    """What a command is and takes; absl would show the flags of its own, too."""
    lines = [(sys.modules[module].__doc__ or "").strip(), ""]
    for flag in flags.FLAGS.get_flags_for_module(module):
        is_shown = flag.default not in (None, "", [], False) and flag.name != "config"
        default = f" (default: {flag.default})" if is_shown else ""
        text = f"--{flag.name}: {' '.join(flag.help.split())}{default}"
        lines += textwrap.wrap(text, 110, initial_indent="  ", subsequent_indent="      ")
    return "\n".join(lines)


def _code(command: Callable[[], None]) -> int:
    """The status that a command ends with by itself."""
    try:
        command()
    except SystemExit as end:
        return int(end.code or DONE)
    except OSError as error:
        if not str(error).startswith("Configuration is not available"):
            raise
        raise UserError(str(error)) from error  # --config names a file that is not there
    return DONE


def show_any_name() -> None:
    """Lets names of files that are not UTF-8 be printed, escaped, as they are to standard error anyhow."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may be closed, or a notebook's
        sys.stdout.reconfigure(errors="backslashreplace")


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(_by_file(argv))
    except SystemExit as end:  # --help, to absl a failure
        raise SystemExit(DONE) from end
    except (UserError, OSError):
        raise
    except flags.UnrecognizedFlagError as error:
        raise UserError(mistyped.unknown_flag(error)) from error
    except Exception as error:  # of absl's parser, or of the file that --config names
        keys = f"\n{_KEYS}" if "config" in flags.FLAGS else ""
        raise UserError(f"{_named(argv, error)}{keys}") from error


def _by_file(argv: list[str]) -> list[str]:
    """The command line with the file of the experiment that --config names, in commands that have it."""
    if "config" not in flags.FLAGS:
        return argv
    from hgad_jax.config.by_name import by_file  # where there are no configs, the networks may not be either

    return by_file(_at_home(argv))


def _at_home(argv: list[str]) -> list[str]:
    """The command line with `~` of --config=~/FILE made the home folder: no shell does that behind a "="."""
    flag = "--config="
    return [flag + os.path.expanduser(a.removeprefix(flag)) if a.startswith(flag) else a for a in argv]


def _named(argv: list[str], error: Exception) -> str:
    """The error with the flag it is about: ml_collections names the last part of an unknown key only."""
    if isinstance(error, KeyError | AttributeError):
        said = mistyped.unknown_key(_by_file(argv), flags.FLAGS["config"])
        if said:
            return said
    lines = str(error).strip().splitlines() or [""]
    in_file = "Error whilst parsing config file" in str(error)  # a stack trace, whose last line says it
    if isinstance(error, flags.Error) and not in_file:
        return lines[0]
    config = next((a for a in argv if a.startswith("--config=")), "--config")
    return f"{config}: {lines[-1] if in_file else f'{type(error).__name__}: {lines[-1]}'}"
