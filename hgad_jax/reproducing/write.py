"""A table as Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hgad_jax.files import write_atomically
from hgad_jax.papers.figures import every
from hgad_jax.reproducing.collect import BEST, LAST, MEAN, WINDOW, Cell, Evaluation
from hgad_jax.reproducing.plan import Plan

_STATES = {LAST: "last", BEST: "best", WINDOW: "window"}
_EXPLAINED = {
    LAST: "last: the state at the end of training",
    BEST: "best: the best of the evaluations in training, chosen on the test set as papers do",
    WINDOW: "window: mean ± deviation over the evaluations in a window of epochs",
}


def write(
    plan: Plan,
    cells: Sequence[Cell],
    differences: Mapping[str, Sequence[str]],
    failed: Mapping[str, str],
    curves: Mapping[str, Sequence[Evaluation]],
    out: Path,
) -> list[Path]:
    """Writes `TABLE.md`, `TABLE.csv` and `TABLE.json`, and `TABLE_curves.csv` if there is any.

    Args:
      plan: what was run.
      cells: the figures.
      differences: by column.
      failed: why, by job.
      curves: evaluations in training, by job.
      out: the folder.

    Returns:
      What was written.
    """
    name = plan.table.name
    contents = {
        f"{name}.md": markdown(plan, cells, differences, failed),
        f"{name}.csv": _csv(plan, cells),
        f"{name}.json": json.dumps(_json(plan, cells, differences, failed), indent=2) + "\n",
    }
    if any(curves.values()):
        contents[f"{name}_curves.csv"] = _curves(curves)
    for file, content in contents.items():
        write_atomically(out / file, content, parents=True)
    return [out / file for file in contents]


def markdown(
    plan: Plan,
    cells: Sequence[Cell],
    differences: Mapping[str, Sequence[str]],
    failed: Mapping[str, str],
) -> str:
    """For a reader: a table for each metric, what its words mean, what differs from the published."""
    seeds = ", ".join(map(str, plan.seeds))
    command = "hgad-jax sweep" if plan.table.command == "sweep" else f"hgad-jax reproduce {plan.table.name}"
    lines = [
        f"# {plan.table.where}",
        "",
        f"`{command}`, seeds {seeds}. In percent.",
    ]
    if len(plan.seeds) > 1:
        lines[-1] += " ±: deviation over the seeds."
    lines += [f"{text}." for state, text in _EXPLAINED.items() if any(c.state == state for c in cells)]
    if plan.table.note:
        lines += [f"Note: {plan.table.note}."]
    for metric in plan.table.metrics:
        if of_metric := [cell for cell in cells if cell.metric == metric]:
            lines += ["", f"## {metric}", "", *_grid(plan, of_metric)]
    for column in plan.columns:
        if column.figures:
            lines += ["", f"## {column.name} beside the published figures", ""]
            lines += [f"Published: {every()[column.figures].source}."]
            lines += ["", *(f"- {line}" for line in differences.get(column.name, []))]
            if not differences.get(column.name):
                lines += ["- no setting is known to differ"]
    if failed:
        lines += ["", "## Failed", "", *(f"- {name}: {why}" for name, why in failed.items())]
    return "\n".join(lines) + "\n"


def _grid(plan: Plan, cells: Sequence[Cell]) -> list[str]:
    """Rows are classes; a column for each state of each column of the table, and one for the published."""
    heads: list[tuple[str, str]] = []
    for column in plan.columns:
        of_column = [c for c in cells if c.column == column.name]
        heads += [(column.name, state) for state in _STATES if any(c.state == state for c in of_column)]
        if any(c.published is not None for c in of_column):
            heads += [(column.name, "published")]
    rows = list(dict.fromkeys(cell.row for cell in cells))
    if MEAN in rows:  # last
        rows = [*(row for row in rows if row != MEAN), MEAN]
    by_place = {(c.row, c.column, c.state): c for c in cells}
    by_place |= {(c.row, c.column, "published"): c for c in cells}
    lines = ["| | " + " | ".join(f"{name} {state}" for name, state in heads) + " |"]
    lines += ["| --- |" + " ---: |" * len(heads)]
    for row in rows:
        texts = [_text(by_place.get((row, *head)), head[1]) for head in heads]
        lines += [f"| {row} | " + " | ".join(texts) + " |"]
    return lines


def _text(cell: Cell | None, state: str) -> str:
    if cell is None:
        return "-"
    if state == "published":
        return _with_deviation(cell.published, cell.published_std)
    text = _with_deviation(cell.mean, cell.over_epochs if state == WINDOW else cell.deviation)
    there = sum(value is not None for value in cell.values)
    return text if there == len(cell.values) else f"{text} ({there} of {len(cell.values)} seeds)"


def _with_deviation(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _csv(plan: Plan, cells: Sequence[Cell]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    fields = ("column", "row", "metric", "state", "mean", "deviation", "over_epochs")
    seeds = [f"seed_{seed}" for seed in plan.seeds]
    writer.writerow([*fields, "published", "published_std", *seeds])
    for cell in cells:
        values = [getattr(cell, field) for field in fields]
        writer.writerow([*values, cell.published, cell.published_std, *cell.values])
    return file.getvalue()


def _json(plan: Plan, cells: Sequence[Cell], differences: Any, failed: Any) -> dict[str, Any]:
    figures = {c.name: every()[c.figures].source for c in plan.columns if c.figures}
    return {
        "table": plan.table.name,
        "where": plan.table.where,
        "note": plan.table.note,
        "seeds": list(plan.seeds),
        "classes": list(plan.classes),
        "cells": [cell._asdict() for cell in cells],
        "published": figures,
        "differences": {name: list(lines) for name, lines in differences.items()},
        "runs": {f"{c}/{k or 'all'}/{s}": job.name for (c, k, s), job in plan.of_cell.items()},
        "failed": dict(failed),
    }


def _curves(curves: Mapping[str, Sequence[Evaluation]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "epoch", "metric", "value"])
    for name, measured in curves.items():
        for evaluation in measured:
            of_classes = {f"{k}/{m}": v for k, found in evaluation.classes.items() for m, v in found.items()}
            for metric, value in (evaluation.values | of_classes).items():
                writer.writerow([name, f"{evaluation.epoch:g}", metric, value])
    return file.getvalue()
