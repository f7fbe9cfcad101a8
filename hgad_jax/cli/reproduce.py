"""`hgad-jax reproduce TABLE --root=DIR`: runs a table of a paper, whole, and writes it beside the published.

`hgad-jax reproduce list` shows the tables there are. Killed at any point, the same command goes on.
Exit status 0: all is there, 1: some runs failed, which are listed, 2: something to mend first.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from hgad_jax.cli import shell
from hgad_jax.errors import UserError
from hgad_jax.exit_status import DONE, SOME_UNUSABLE, status_of

_DESCRIPTION = """\
Trains and evaluates all models of a table of a paper: classes × columns × seeds, each a run as train and eval
make it, and writes TABLE.md, .csv and .json: ours beside the published, and what differs. What is finished is
not done again: killed at any point, the same command goes on. A run that fails leaves the others going."""


def main() -> None:
    """Runs the command."""
    sys.exit(status(sys.argv[1:]))


def status(arguments: Sequence[str]) -> int:
    """Runs it and returns the exit status."""

    def run() -> int:
        shell.show_any_name()
        config = [a for a in arguments if a.split("=")[0].split(".")[0] == "--config"]
        args = _parser().parse_args([a for a in arguments if a not in config])
        if args.table == "cost":
            return _cost(config, args.out)
        settings = settings_of(config)
        if args.table == "list":
            return _list(args, settings)
        return _reproduce(args, settings)

    return status_of(run)


def settings_of(arguments: Sequence[str]) -> dict[str, str]:
    """Keys of the config and their values, of flags such as --config.train.epochs=8.

    Raises:
      UserError: no value, or no key.
    """
    found = {}
    for argument in arguments:
        name, separator, value = argument.removeprefix("--config").partition("=")
        if not separator or not name.startswith("."):
            raise UserError(
                f"{argument}: expected --config.SECTION.KEY=VALUE, such as --config.train.epochs=8"
            )
        found[name[1:]] = value
    return found


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """Seeds, with commas between.

    Raises:
      UserError: one is no whole number from 0 to 2³² − 1, or is there twice.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if not part.isdecimal() or int(part) >= 2**32:
            raise UserError(f"{flag}={text}: {part!r} is no whole number from 0 on; expected such as 0,1,2")
        found.append(int(part))
    if len(set(found)) < len(found):
        raise UserError(f"{flag}={text}: a seed is there twice, which would be one run counted twice")
    if text and not found:
        raise UserError(f"{flag}={text}: expected numbers with commas between, such as 0,1,2")
    return tuple(found)


def words(text: str) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _reproduce(args: argparse.Namespace, settings: dict[str, str]) -> int:
    from hgad_jax.files import expanded
    from hgad_jax.reproducing.all_tables import table_of
    from hgad_jax.reproducing.job import Places
    from hgad_jax.reproducing.plan import plan

    table = table_of(args.table)
    planned = plan(
        table,
        columns=words(args.columns),
        classes=words(args.classes),
        seeds=numbers("--seeds", args.seeds),
        settings=settings,
    )
    places = Places(expanded(args.out or "reproduced"), str(expanded(args.root)) if args.root else "")
    return carry_out(planned, places, dry_run=args.dry_run)


def carry_out(planned, places, *, dry_run: bool) -> int:
    """Runs a plan, or shows its commands; returns the exit status."""
    from hgad_jax.reproducing.cost_table import measure_all
    from hgad_jax.reproducing.plan import shell_lines
    from hgad_jax.reproducing.reproduce import reproduce
    from hgad_jax.reproducing.tables import COMPLEXITY

    is_cost = planned.table.kind == COMPLEXITY
    if dry_run:
        print("\n".join(shell_lines(planned, places)))
        return DONE
    if is_cost:
        written, failed = measure_all(planned, places, log=shell.say)
    else:
        written, failed = reproduce(planned, places, log=shell.say)
    print(Path(written[0]).read_text(encoding="utf-8"), end="")
    for name, why in failed.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    return SOME_UNUSABLE if failed else DONE


def _list(args: argparse.Namespace, settings: dict[str, str]) -> int:
    from hgad_jax.reproducing.all_tables import TABLES
    from hgad_jax.reproducing.hours import hours, speed_here
    from hgad_jax.reproducing.job import Places
    from hgad_jax.reproducing.plan import plan
    from hgad_jax.reproducing.tables import COMPLEXITY

    speed, places = speed_here(), Places(Path("reproduced"))
    print(f"{'table':<20} {'models':>6} {'hours':>7}  what it is")
    for name, table in TABLES.items():
        if table.cannot:
            print(f"{name:<20} {'-':>6} {'-':>7}  {table.where}. {table.cannot}")
            continue
        planned = plan(table, seeds=numbers("--seeds", args.seeds), settings=settings)
        if table.kind == COMPLEXITY:
            cost = "< 1"
        else:
            estimate = hours(planned, places, speed)
            cost = "?" if estimate is None else f"{estimate:.0f}" if estimate >= 1 else "< 1"
        note = f" ({table.note})" if table.note else ""
        print(f"{name:<20} {len(planned.jobs):>6} {cost:>7}  {table.where}{note}")
    print(
        f"hours: a rough estimate for one device as here ({speed / 1e9:.0f} GFLOP/s in large products), good "
        "to a factor of three;\nmodels that tables have in common are trained once if --out is the same."
    )
    return DONE


def _cost(config: Sequence[str], out: str) -> int:
    from hgad_jax.files import write_atomically
    from hgad_jax.reproducing.job import read_config
    from hgad_jax.reproducing.measured_cost import measured

    found = json.dumps(measured(read_config(config)), indent=2) + "\n"
    if out:
        write_atomically(out, found)
    else:
        print(found, end="")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hgad-jax reproduce",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="--config.SECTION.KEY=VALUE changes a setting of all runs, and is listed as a difference.",
    )
    parser.add_argument(
        "table",
        help="a table; 'list' shows them; 'cost' measures what --config=EXPERIMENT costs to score with",
    )
    parser.add_argument("--root", default="", help="where the dataset is, as --config.data.root")
    parser.add_argument("--seeds", default="", help="such as 0,1,2; by default the table's own")
    parser.add_argument("--classes", default="", help="rows, such as bottle,cable; by default all")
    parser.add_argument("--columns", default="", help="by default all; their names are in TABLE.md")
    parser.add_argument("--out", default="", help="folder for runs and tables (default: reproduced)")
    parser.add_argument("--dry-run", "--dry_run", action="store_true", help="print the commands, run nothing")
    return parser
