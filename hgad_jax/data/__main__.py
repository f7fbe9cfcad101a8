"""Looks after datasets.

python -m hgad_jax.data check DIR: is a folder fit to train on? Exit status 0: yes, 1: no, 2: misused.
python -m hgad_jax.data prepare NAME --root=DIR: store a dataset of the papers ahead of training.
"""

import argparse
import os
import sys

import ml_collections
from absl import logging

from hgad_jax import cli
from hgad_jax.data import explicit, own, prepare
from hgad_jax.data.check import check
from hgad_jax.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status."""
    args = _parser().parse_args(arguments)
    cli.show_any_name()
    logging.set_verbosity(logging.ERROR)  # what reading warns of is in the report
    try:
        return args.run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: Interrupted.", file=sys.stderr)
        return 2


def _check(args: argparse.Namespace) -> int:
    dirs = {key: getattr(args, key) for key in explicit.KEYS}
    data = ml_collections.ConfigDict({"root": args.dir, "follow_links": args.follow_links, **dirs})
    return 0 if check(own.scan(data), num_workers=args.workers) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hgad_jax.data", description="Looks after datasets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    prepare.add_parser(commands)
    checked = commands.add_parser("check", help="list what a folder holds and everything wrong with it")
    checked.set_defaults(run=_check)
    checked.add_argument("dir", nargs="?", default="", help="as --config.data.root: a folder of classes")
    for key in explicit.KEYS:
        option = f"--{key.replace('_', '-')}"
        checked.add_argument(
            option, dest=key, action="append", default=[], help=f"as --config.data.{key}; may be repeated"
        )
    checked.add_argument("--follow-links", action="store_true", help="allow links that leave DIR")
    checked.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads that decode")
    return parser


if __name__ == "__main__":
    sys.exit(main())
