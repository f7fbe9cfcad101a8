"""From a table to the runs that it takes: nothing is run or written here."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hgad_jax.errors import UserError
from hgad_jax.reproducing.job import Job, Places, commands, merged
from hgad_jax.reproducing.tables import COMPLEXITY, NORMALITY, Column, Table


class Plan(NamedTuple):
    """What of a table is run.

    Attributes:
      table: the table.
      columns: of it, those chosen.
      classes: likewise, the rows; () where rows are columns' own.
      seeds: of each model.
      jobs: all runs, without repeats.
      of_cell: (column, class, seed) → its job; the class is "" for one model of all.
    """

    table: Table
    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: tuple[Job, ...]
    of_cell: Mapping[tuple[str, str, int], Job]


def plan(
    table: Table,
    *,
    columns: Sequence[str] = (),
    classes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Mapping[str, str] | None = None,
) -> Plan:
    """Chooses of a table, and lists its runs.

    Args:
      table: whose models are trained.
      columns: names of those to run; none: all.
      classes: rows; none: all. One model of all classes is trained on all of them whatever is chosen.
      seeds: none: the table's own.
      settings: keys of the config for every run, before all others.

    Raises:
      UserError: a column or a class that the table does not have, or a table that is not run.
    """
    if table.cannot:
        raise UserError(f"{table.name} ({table.where}) is not run: {table.cannot}")
    by_name = {column.name: column for column in table.columns}
    chosen = tuple(by_name[name] for name in _known("column", columns, by_name, table))
    if table.kind == COMPLEXITY and classes:
        raise UserError(f"{table.name} is about models, not about classes: leave --classes away.")
    rows = () if table.kind == COMPLEXITY else _known("class", classes, table.all_classes, table)
    seeds = tuple(seeds or table.seeds)
    of_cell = {
        (column.name, class_name, seed): _job(table, column, class_name, seed, settings or {})
        for column in chosen
        for class_name in ([""] if column.together else rows or [""])
        for seed in seeds
    }
    jobs = {(job.name, job.evaluation): job for job in of_cell.values()}
    return Plan(table, chosen, rows, seeds, tuple(jobs.values()), of_cell)


def shell_lines(planned: Plan, places: Places) -> list[str]:
    """The commands that a plan comes to, two lines for each run."""
    import shlex

    return [shlex.join(["hgad-jax", *command]) for job in planned.jobs for command in commands(job, places)]


def _known(kind: str, asked: Sequence[str], there: Sequence[str] | Mapping[str, object], table: Table):
    unknown = [name for name in asked if name not in there]
    if unknown:
        raise UserError(
            f"{table.name} has no {kind} {', '.join(map(repr, unknown))}; there are {', '.join(there)}."
        )
    return tuple(name for name in there if not asked or name in asked)


def _job(table: Table, column: Column, class_name: str, seed: int, settings: Mapping[str, str]) -> Job:
    words = [*filter(None, [column.of_class.get(class_name, column.words)]), *filter(None, [class_name])]
    of_class = column.set_for.get(class_name, {})
    if "." in column.experiment and class_name:  # a file of one's own, whose words may not be classes
        words.remove(class_name)
        of_class = {**of_class, "data.class_name": class_name}
    evaluation = ("--normality",) if table.kind == NORMALITY else ()
    return Job(
        config=":".join([column.experiment, *filter(None, [",".join(words)])]),
        settings=merged(column.settings, of_class, settings),
        seed=seed,
        evaluation=("--bootstrap=0", *evaluation, *(("--report",) if table.report else ())),
        column=column.name,
        class_name=class_name,
    )
