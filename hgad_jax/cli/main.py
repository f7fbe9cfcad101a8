"""`hgad-jax COMMAND`: finds the module of a command and runs it."""

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import hgad_jax
from hgad_jax.exit_status import DONE, USERS, status_of


class Command(NamedTuple):
    """A sub-command: `main()` of its module reads `sys.argv` and ends the program."""

    module: str  # in hgad_jax.cli
    summary: str


COMMANDS = {
    "check": Command("check", "say what a folder of images holds, and everything wrong with it"),
    "train": Command("train", "train a detector, or go on training"),
    "eval": Command("evaluate", "measure a trained detector on a dataset's test images"),
    "decide": Command("decide", "choose a threshold: what each rate of false alarms promises and costs"),
    "predict": Command("predict", "score new images: decisions, heat maps, outlines"),
    "export": Command("export", "put a trained run into one folder or file, for a line"),
    "serve": Command("serve", "answer over HTTP, with a page to drop images on"),
    "watch": Command("watch", "score each image that a camera writes into a folder"),
    "reproduce": Command("reproduce", "run a table of a paper, and write it beside the published figures"),
    "sweep": Command("sweep", "run a grid of settings and seeds, and write its table"),
    "prepare": Command("prepare", "store a dataset of the papers ahead of training"),
    "fetch": Command("fetch", "download a backbone's weights"),
    "list": Command(
        "listing", "print the experiments, detectors, backbones, datasets and other parts there are"
    ),
    "config": Command("config", "print every setting with its default, range and meaning"),
}
_HELP = ("-h", "--help", "-help", "help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command that is named first; ends the program."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in _HELP:
        sys.exit(status_of(lambda: print(usage())) or (DONE if arguments else USERS))
    if arguments[0] == "--version":
        sys.exit(status_of(lambda: print(f"hgad_jax {hgad_jax.__version__}")))
    name, *rest = arguments
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(f"error: There is no command {name!r}.{hint}\n\n{usage()}", file=sys.stderr)
        sys.exit(2)
    run(name, rest, program=f"hgad-jax {name}")


def run(name: str, arguments: Sequence[str], *, program: str) -> None:
    """Runs one command.

    Args:
      name: in `COMMANDS`.
      arguments: what follows it on the command line.
      program: as the user called it, for messages.
    """
    sys.argv = [program, *arguments]  # where flags and configs are read from
    module = f"hgad_jax.cli.{COMMANDS[name].module}"
    sys.exit(status_of(lambda: importlib.import_module(module).main()))  # also if it cannot be imported


def usage() -> str:
    """All commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return (
        "hgad-jax COMMAND: find defects in images of products, having seen good products only.\n\n"
        + "\n".join(lines)
        + "\n\nhgad-jax COMMAND --help: what a command takes. hgad-jax --version: which version this is.\n"
        "Exit status: 0 done, 1 done but for what is listed, 2 something to mend,\n"
        "3 a fault of hgad_jax, 75 stopped by SIGTERM."
    )
