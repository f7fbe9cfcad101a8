"""`hgad-jax check DIR`: what a folder of images holds, and everything wrong with it.

Exit status 0: nothing is to be mended, 1: something is, and was listed, 2: misused, or no dataset at all.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from absl import logging

from hgad_jax.cli import shell
from hgad_jax.config.by_name import get_config, read
from hgad_jax.data import explicit, own
from hgad_jax.data.check import check, save
from hgad_jax.data.folder import Listing
from hgad_jax.data.geometry import transform_of
from hgad_jax.data.layouts.advice import NoClass
from hgad_jax.data.layouts.papers import is_mvtec_ad
from hgad_jax.data.problems import NOTE, Problem
from hgad_jax.data.records import Dataset
from hgad_jax.data.selection import select_class
from hgad_jax.errors import UserError
from hgad_jax.exit_status import DONE, SOME_UNUSABLE, status_of


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""

    def run():
        args = _parse(arguments)
        shell.show_any_name()
        logging.set_verbosity(logging.ERROR)  # what reading warns of is in the report
        return _check(args)

    return status_of(run)


def _check(args: argparse.Namespace) -> int:
    config = _config(args.config)
    data = config.data
    data.update({key: value for key, value in _given(args).items() if value})
    if data.name != "folder":
        raise UserError(
            f"config.data.name is '{data.name}': that is a dataset of a paper, which is checked against the "
            f"published counts when it is prepared: python -m hgad_jax.data prepare {data.name} --root=DIR"
        )
    if not data.root and not any(data[key] for key in explicit.KEYS):
        raise UserError("Which folder? python -m hgad_jax.data check DIR, or --normal-dir=DIR")
    try:
        listing = own.scan(data)
    except NoClass as error:
        if args.out:
            save(args.out, f"{error.whole}\n")
        raise UserError(error.whole) from error
    sound = check(
        listing,
        transform_of(data),
        num_workers=args.workers,
        beforehand=_beforehand(config, listing, validated=bool(args.config)),
        out=args.out,
    )
    return DONE if sound else SOME_UNUSABLE


def _beforehand(config: Any, listing: Listing, *, validated: bool) -> list[Problem]:
    """What training would refuse, or tell, by the list of images alone."""
    from hgad_jax.config.validate import validate  # these take a second to import
    from hgad_jax.runs import early

    if validated:
        validate(config, num_devices=1)
    classes = tuple(listing.good_folders)
    if not classes:
        return []
    parts = [tuple(r for r in listing.records if r.split == split) for split in ("train", "test")]
    dataset = select_class(Dataset(listing.name, classes, *parts), config.data.class_name)
    problems = early.problems(config, dataset.classes, (*dataset.train, *dataset.test))
    if paper := is_mvtec_ad(listing.root, classes):
        problems.append(Problem(paper, (), "", NOTE))
    return problems


def _given(args: argparse.Namespace) -> dict[str, Any]:
    dirs = {key: tuple(getattr(args, key)) for key in explicit.KEYS}
    return {"root": args.dir, "follow_links": args.follow_links, **dirs}


def _config(arguments: Sequence[str]) -> Any:
    """The config that `--config` and its overrides name; by default that of a folder of one's own images."""
    if not arguments:
        return get_config("hgad_folder")
    given = any(argument.startswith("--config=") for argument in arguments)
    return read(["check", *([] if given else ["--config=hgad_folder"]), *arguments], said_of="--config")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; what begins with --config is kept for `_config`."""
    of_config = [argument for argument in arguments if argument.split("=")[0].split(".")[0] == "--config"]
    args = _parser().parse_args([argument for argument in arguments if argument not in of_config])
    args.config = of_config
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hgad-jax check",
        description="Lists what a folder holds and everything wrong with it.",
        epilog="--config=NAME and --config.KEY=VALUE, as given to train: check for such a run.",
    )
    parser.add_argument("dir", nargs="?", default="", help="as --config.data.root: a folder of classes")
    for key in explicit.KEYS:
        option = f"--{key.replace('_', '-')}"
        parser.add_argument(
            option, dest=key, action="append", default=[], help=f"as --config.data.{key}; may be repeated"
        )
    parser.add_argument("--follow-links", action="store_true", help="allow links that leave DIR")
    parser.add_argument("--out", default="", help="a file for the whole report, with all names")
    parser.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="threads that decode")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return number
