"""Tables of costs: each model is measured by itself, one after the other."""

import csv
import io
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hgad_jax.files import locked, read_text, write_atomically
from hgad_jax.papers.figures import every
from hgad_jax.reproducing.job import PROGRAM, Job, Places, config_flags_of, config_of
from hgad_jax.reproducing.plan import Plan
from hgad_jax.reproducing.run import last_error
from hgad_jax.reproducing.tables import Column

COLUMNS = {
    "image_size": "pixels a side",
    "parameters": "millions that are trained",
    "backbone_parameters": "millions of the frozen backbone, up to the last layer that is used",
    "gflop": "thousand millions of operations in products of matrices and convolutions, for one image",
    "gflop_xla": "as XLA counts: all operations, but the body of a loop once",
    "images_per_s": "one image at a time, from decoded pixels to likelihoods, here",
    "ms": "of one image",
    "mb": "of everything that scoring needs, as float32",
    "peak_mb": "of memory, of the process or of the accelerator",
}
_WHY = (
    "Speeds are of other devices, and here of scoring without reading files; a published size may count "
    "matrices or parts of a backbone that are not kept here, or be that of other settings than the released "
    "ones."
)


def measure_all(
    plan: Plan, places: Places, *, log: Callable[[str], None], program: Sequence[str] = PROGRAM
) -> tuple[list[Path], dict[str, str]]:
    """Measures what of a plan is not measured yet, and writes `TABLE.md`, `.csv` and `.json`.

    Args:
      plan: of a table of the kind `COMPLEXITY`.
      places: where results are kept, in `costs`.
      log: gets a line for each model.
      program: the command line before `reproduce`.

    Returns:
      What was written, and column → why it failed.
    """
    for job in plan.jobs:
        config_of(job, places)  # what is wrong with one is told before the first is measured
    folder = places.out / "costs"
    folder.mkdir(parents=True, exist_ok=True)
    failed, found = {}, {}
    with locked(places.out / ".lock"):  # two at a time would slow each other down
        for number, column in enumerate(plan.columns, 1):
            job = plan.of_cell[column.name, "", plan.seeds[0]]
            path = folder / f"{job.name}.json"
            if not path.is_file():
                why = _measure(job, places, path, program)
                if why:
                    failed[column.name] = why
                end = f"FAILED: {why}" if why else "measured"
                log(f"[{number} of {len(plan.columns)}] {column.name}: {end}")
            if path.is_file():
                found[column.name] = json.loads(read_text(path))
        return _write(plan, found, failed, places.out), failed


def _measure(job: Job, places: Places, path: Path, program: Sequence[str]) -> str:
    command = [*program, "reproduce", "cost", *config_flags_of(job, places), f"--out={path}"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if not done.returncode:
        return ""
    return f"{last_error(done.stderr) or 'nothing was said'} (exit status {done.returncode})"


def published(column: Column) -> dict[str, float]:
    """The figures beside a column, in their own units."""
    figures = every().get(column.figures)
    if figures is None or column.row not in figures.rows:
        return {}
    row = figures.rows[column.row]
    return {name: value for name, value in zip(figures.columns, row, strict=True) if value is not None}


def _write(plan: Plan, found: Mapping[str, Any], failed: Mapping[str, str], out: Path) -> list[Path]:
    name = plan.table.name
    devices = sorted({values["device"] for values in found.values()})
    lines = [f"# {plan.table.where}", "", f"`hgad-jax reproduce {name}`. Here: {'; '.join(devices)}."]
    lines += [
        "",
        "| | " + " | ".join(COLUMNS) + " | published |",
        "| --- |" + " ---: |" * len(COLUMNS) + " --- |",
    ]
    for column in plan.columns:
        values = found.get(column.name, {})
        beside = ", ".join(f"{metric} {value:g}" for metric, value in published(column).items()) or "-"
        cells = [_text(values.get(metric)) for metric in COLUMNS]
        lines += [f"| {column.name} | " + " | ".join([*cells, beside]) + " |"]
    lines += ["", *(f"- {metric}: {what}" for metric, what in COLUMNS.items())]
    sources = dict.fromkeys(every()[c.figures].source for c in plan.columns if c.figures)
    lines += ["", *(f"Published: {source}." for source in sources)]
    if sources:
        lines += ["", f"Why figures cannot match: {_WHY}{f' {plan.table.note}.' if plan.table.note else ''}"]
    if failed:
        lines += ["", "## Failed", "", *(f"- {column}: {why}" for column, why in failed.items())]
    rows = {
        column.name: {**found.get(column.name, {}), "published": published(column)} for column in plan.columns
    }
    content = {"table": name, "rows": rows, "failed": dict(failed)}
    texts = {
        f"{name}.md": "\n".join(lines) + "\n",
        f"{name}.csv": _csv(plan, found),
        f"{name}.json": json.dumps(content, indent=2) + "\n",
    }
    for file, text in texts.items():
        write_atomically(out / file, text)
    return [out / file for file in texts]


def _csv(plan: Plan, found: Mapping[str, Any]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    beside = list(dict.fromkeys(name for column in plan.columns for name in published(column)))
    writer.writerow(["column", *COLUMNS, *(f"published_{name}" for name in beside)])
    for column in plan.columns:
        values, theirs = found.get(column.name, {}), published(column)
        writer.writerow(
            [column.name, *(values.get(name) for name in COLUMNS), *(theirs.get(name) for name in beside)]
        )
    return file.getvalue()


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
