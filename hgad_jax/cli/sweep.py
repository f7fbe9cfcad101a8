"""`hgad-jax sweep --config=NAME --grid KEY=A,B --seeds=0,1,2`: a table from any grid of settings."""

import argparse
import sys
from collections.abc import Sequence

from hgad_jax.cli import shell
from hgad_jax.cli.reproduce import carry_out, numbers, settings_of, words
from hgad_jax.exit_status import status_of

_DESCRIPTION = """\
Trains and evaluates every combination of the values of a grid, with each seed, and writes sweep.md, .csv and
.json into --out: mean and deviation over seeds. What is finished is not done again: killed at any point, the
same command goes on. A run that fails leaves the others going."""


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""

    def run() -> int:
        shell.show_any_name()
        settings = [a for a in arguments if a.startswith("--config.")]
        args = _parser().parse_args([a for a in arguments if a not in settings])
        return _sweep(args, settings_of(settings))

    return status_of(run)


def _sweep(args: argparse.Namespace, settings: dict[str, str]) -> int:
    from hgad_jax.files import expanded
    from hgad_jax.reproducing.job import Places
    from hgad_jax.reproducing.plan import plan
    from hgad_jax.reproducing.sweep import table

    swept = table(args.config, args.grid, classes=words(args.classes), metrics=words(args.metrics))
    planned = plan(swept, seeds=numbers("--seeds", args.seeds), settings=settings)
    places = Places(expanded(args.out), str(expanded(args.root)) if args.root else "")
    return carry_out(planned, places, dry_run=args.dry_run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hgad-jax sweep",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="--config.SECTION.KEY=VALUE sets a key of all runs, such as --config.data.root=DIR.",
    )
    parser.add_argument(
        "--config",
        action="append",
        required=True,
        help="an experiment or a file, as of train; several: the grid for each of them",
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        help="a key and its values, such as train.learning_rate=1e-3,3e-4; several: all combinations",
    )
    parser.add_argument("--seeds", default="0", help="such as 0,1,2 (default: 0)")
    parser.add_argument("--classes", default="", help="one model for each of these; by default one of all")
    parser.add_argument(
        "--metrics",
        default="image_auroc,pixel_auroc",
        help="of results.json (default: image_auroc,pixel_auroc)",
    )
    parser.add_argument("--root", default="", help="where the dataset is, as --config.data.root")
    parser.add_argument("--out", default="swept", help="folder for runs and table (default: swept)")
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help="print the commands, run nothing")
    return parser
