"""`hgad-jax prepare NAME --root=DIR`: stores a dataset of the papers ahead of training."""

import argparse
import sys
from collections.abc import Sequence

from absl import logging

from hgad_jax.cli import shell
from hgad_jax.data.prepare import NAMES, Options, directory_of, load
from hgad_jax.exit_status import status_of


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""

    def run():
        args = _parser().parse_args(arguments)
        shell.show_any_name()
        logging.set_verbosity(logging.WARNING)
        _prepare(args)

    return status_of(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hgad-jax prepare", description="Stores a dataset of the papers, without training."
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--root", default="", help="folder with what was downloaded, archives or unpacked")
    parser.add_argument("--prepared-dir", default="", help="where to keep it; the user's cache if not given")
    parser.add_argument("--allow-partial", action="store_true", help="accept other images than published")
    parser.add_argument("--follow-links", action="store_true", help="allow links that leave the folder")
    return parser


def _prepare(args: argparse.Namespace) -> None:
    given = vars(args)
    options = Options(**{key: given[key] for key in given.keys() & set(Options._fields)})
    dataset = load(args.name, options)
    print(f"{dataset.name}: {len(dataset.classes)} classes in {directory_of(options)}")
    for name in dataset.classes:
        train, test = ([r for r in part if r.class_name == name] for part in (dataset.train, dataset.test))
        bad = sum(record.anomalous for record in test)
        print(f"  {name}: {len(train)} training, {len(test) - bad} good and {bad} defective test images")
