"""What finished runs found, as the cells of a table."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from hgad_jax import files
from hgad_jax.papers.compare import Measured, differences, of_class
from hgad_jax.papers.figures import Figures, every, fractions
from hgad_jax.reproducing.job import Job, Places, config_of
from hgad_jax.reproducing.plan import Plan
from hgad_jax.reproducing.run import results_of
from hgad_jax.reproducing.tables import Column

MEAN = "mean"
LAST, BEST, WINDOW = "last", "best", "window"
_TEST = "test/"  # before the names of metrics in metrics.jsonl


class Cell(NamedTuple):
    """One figure of a table.

    Attributes:
      column: its name.
      row: a class, "mean" over classes, or the row of the published figures.
      metric: by the name of `results.json`.
      state: "last", "best" of the evaluations in training, on the test set, or "window", their mean.
      values: of the seeds, in their order; None where a run is not there.
      mean: over seeds; None without any.
      deviation: of the seeds (of a sample); None of fewer than two.
      over_epochs: state "window": the deviation over its evaluations, mean over seeds.
      published: the figure beside it, None if there is none.
      published_std: its deviation, likewise.
    """

    column: str
    row: str
    metric: str
    state: str
    values: tuple[float | None, ...]
    mean: float | None
    deviation: float | None
    over_epochs: float | None
    published: float | None
    published_std: float | None


class Evaluation(NamedTuple):
    """One evaluation in training.

    Attributes:
      epoch: when.
      values: metrics, mean over classes.
      classes: of each class.
    """

    epoch: float
    values: dict[str, float]
    classes: dict[str, dict[str, float]]


def cells(plan: Plan, places: Places) -> list[Cell]:
    """All figures of a plan that its finished runs have."""
    return [cell for column in plan.columns for cell in _of_column(plan, column, places)]


def evaluations(job: Job, places: Places) -> list[Evaluation]:
    """What a job's training measured on the test set on its way."""
    path, results = places.workdir(job) / "metrics.jsonl", results_of(job, places)
    if results is None or not path.is_file():
        return []
    config = config_of(job, places)
    found = []
    for line in map(json.loads, files.read_text(path).splitlines()):
        named = {k.removeprefix(_TEST): v for k, v in line.items() if k.startswith(_TEST)}
        if named and config.eval.window:
            classes: dict[str, dict[str, float]] = {}
            for name, value in named.items():
                class_name, _, metric = name.rpartition("/")
                classes.setdefault(class_name, {})[metric] = value
            values = classes.pop("", {})
            epoch = line["step"] * config.train.epochs / results["step"]
            found.append(Evaluation(epoch, values, classes))
    return found


def differences_of(plan: Plan, column: Column, places: Places) -> list[str]:
    """How the runs of a column differ from the published figures; classes are named if not all do."""
    figures = every().get(column.figures)
    if figures is None:
        return []
    state = WINDOW if column.window else figures.settings.get("state", LAST)
    by_line: dict[str, list[str]] = {}
    of_column = {
        (name, job.class_name): job for (name, _, _), job in plan.of_cell.items() if name == column.name
    }
    for (_, class_name), job in of_column.items():
        config = config_of(job, places)
        has_window = bool(config.eval.window)
        measured = Measured(state=state if has_window else LAST, runs=len(plan.seeds))
        for line in differences(config, figures, measured):
            by_line.setdefault(line, []).append(class_name)
    return [
        line if len(names) == len(of_column) else f"{line} ({', '.join(names)})"
        for line, names in by_line.items()
    ]


def _of_column(plan: Plan, column: Column, places: Places) -> Iterator[Cell]:
    rows = plan.classes if plan.classes and not column.row else (column.row or MEAN,)
    states = [WINDOW] if column.window else [LAST, BEST]
    found = {seed: _values(plan, column, seed, places) for seed in plan.seeds}
    for row in (*rows, *([MEAN] if len(rows) > 1 else [])):
        for metric in plan.table.metrics:
            for state in states:
                per_seed = [found[seed].get((row, metric, state)) for seed in plan.seeds]
                if any(value is not None for value in per_seed):
                    yield _cell(plan, column, row, metric, state, per_seed)


def _cell(plan: Plan, column: Column, row: str, metric: str, state: str, per_seed: Sequence[Any]) -> Cell:
    values = tuple(None if v is None else v[0] for v in per_seed)
    known = [v for v in values if v is not None]
    spread = [v[1] for v in per_seed if v is not None]
    figures = every().get(column.figures)
    published = _published(figures, row, plan) if figures else {}
    return Cell(
        column.name,
        row,
        metric,
        state,
        values,
        float(np.mean(known)),
        float(np.std(known, ddof=1)) if len(known) > 1 else None,
        float(np.mean(spread)) if state == WINDOW else None,
        published.get(metric),
        published.get(f"{metric}_std", published.get(f"{metric}_ci")),
    )


def _published(figures: Figures, row: str, plan: Plan) -> dict[str, float]:
    if row in figures.rows:
        return of_class(figures, figures.rows[row])
    whole = set(plan.classes) >= set(plan.table.all_classes)
    return fractions(figures.columns, figures.mean) if row == MEAN and whole and figures.mean else {}


def _values(plan: Plan, column: Column, seed: int, places: Places) -> dict[tuple[str, str, str], Any]:
    """(row, metric, state) → (value, deviation over epochs) of one seed."""
    found: dict[tuple[str, str, str], Any] = {}
    if column.together:
        found = dict(_of_job(plan.of_cell[column.name, "", seed], column, plan.classes, places))
        return _averaged(found, plan.classes) if len(plan.classes) < len(plan.table.all_classes) else found
    names = plan.classes or ("",)
    for name in names:
        row = column.row or name or MEAN
        job = plan.of_cell[column.name, name, seed]
        of_job = _of_job(job, column, (row,), places)
        found |= {(row, metric, state): value for (_, metric, state), value in of_job}
    return _averaged(found, names)


def _averaged(found: dict[tuple[str, str, str], Any], rows: Sequence[str]) -> dict[tuple[str, str, str], Any]:
    """With the mean over the rows that are shown, where all are there: of some it would be another figure."""
    if len(rows) < 2:
        return found
    found = {key: value for key, value in found.items() if key[0] != MEAN}
    for metric, state in {(metric, state) for _, metric, state in found}:
        values = [found.get((row, metric, state)) for row in rows]
        if all(value is not None for value in values):
            found[MEAN, metric, state] = tuple(np.mean(np.array(values, float), axis=0))
    return found


def _of_job(
    job: Job, column: Column, rows: Sequence[str], places: Places
) -> Iterator[tuple[tuple[str, str, str], tuple[float, float]]]:
    """What one run found: of one class under the one row; of several each under its own, and their mean."""
    results = results_of(job, places)
    if results is None:
        return
    one = len(results["classes"]) == 1
    only = next(iter(results["classes"].values()))
    by_row = {row: only if one else results["classes"].get(row, {}) for row in rows}
    by_row |= {} if one else {MEAN: results["mean"]}
    if not column.window:
        for row, values in by_row.items():
            for metric, value in values.items():
                if isinstance(value, int | float):
                    yield (row, metric, LAST), (value, 0.0)
    row = rows[0] if one else MEAN
    yield from _in_training(evaluations(job, places), column, row)


def _in_training(measured: Sequence[Evaluation], column: Column, row: str) -> Iterator[Any]:
    """The best of the evaluations, or the mean and the deviation of those in the window.

    Of a model of several classes the best is that of their mean, and a class's is its figure then, as HGAD's
    tables have it.
    """
    names = sorted({name for evaluation in measured for name in evaluation.values})
    for name in names:
        if column.window:
            first, last = column.window
            near = 0.5  # epochs: steps are whole
            inside = [e.values[name] for e in measured if first - near <= e.epoch <= last + near]
            if inside:
                yield (row, name, WINDOW), (float(np.mean(inside)), float(np.std(inside)))
        else:
            best = max(measured, key=lambda e: e.values.get(name, -1.0))
            yield (row, name, BEST), (best.values[name], 0.0)
            for class_name, values in best.classes.items() if row == MEAN else ():
                if name in values:
                    yield (class_name, name, BEST), (values[name], 0.0)
