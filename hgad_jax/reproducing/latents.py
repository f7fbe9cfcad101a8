"""Tables about latents: how normal they are at the end of training, by column."""

import csv
import io
import json
from pathlib import Path

from hgad_jax.files import read_text, write_atomically
from hgad_jax.reproducing.collect import evaluations
from hgad_jax.reproducing.job import Job, Places
from hgad_jax.reproducing.plan import Plan
from hgad_jax.reproducing.run import results_of

_COLUMNS = {
    "ks_channels": "Kolmogorov-Smirnov statistic of each channel, mean",
    "ks": "the same of each element over images",
    "ks_share": "share of elements that pass for standard normal (p > .05)",
    "shapiro_share": "share that pass for normal (Shapiro and Wilk, p > .05)",
    "mean_square": "mean square of elements",
    "pixel_auroc": "of the last state",
    "loss": "at the end of training",
}


def write_normality(plan: Plan, places: Places, failed: dict[str, str]) -> list[Path]:
    """Writes `TABLE.md`, `.csv` and `.json` of what finished runs found, and the AUROCs over epochs.

    Args:
      plan: of a table of the kind `NORMALITY`.
      places: where it was run.
      failed: why, by job.
    """
    rows = {
        f"{column}, seed {seed}": (job, found)
        for (column, _, seed), job in plan.of_cell.items()
        if (found := _row(job, places)) is not None
    }
    name = plan.table.name
    lines = [
        f"# {plan.table.where}",
        "",
        f"`hgad-jax reproduce {name}`. Good test images; no figure was printed.",
    ]
    lines += ["", "| | " + " | ".join(_COLUMNS) + " |", "| --- |" + " ---: |" * len(_COLUMNS)]
    for label, (_, found) in rows.items():
        lines += [f"| {label} | " + " | ".join(_text(found[c]) for c in _COLUMNS) + " |"]
    lines += ["", *(f"- {column}: {what}" for column, what in _COLUMNS.items())]
    if failed:
        lines += ["", "## Failed", "", *(f"- {job}: {why}" for job, why in failed.items())]
    content = {"table": name, "rows": {label: found for label, (_, found) in rows.items()}, "failed": failed}
    files = {
        f"{name}.md": "\n".join(lines) + "\n",
        f"{name}.csv": _csv([["run", *_COLUMNS], *([k, *v.values()] for k, (_, v) in rows.items())]),
        f"{name}.json": json.dumps(content, indent=2) + "\n",
        f"{name}_curves.csv": _csv(
            [["run", "epoch", "metric", "value"]]
            + [
                [label, f"{evaluation.epoch:g}", metric, value]
                for label, (job, _) in rows.items()
                for evaluation in evaluations(job, places)
                for metric, value in evaluation.values.items()
            ]
        ),
    }
    for file, text in files.items():
        write_atomically(places.out / file, text, parents=True)
    return [places.out / file for file in files]


def _row(job: Job, places: Places) -> dict[str, float | None] | None:
    results = results_of(job, places)
    if results is None:
        return None
    elements = results["ks"]["elements"] or {}
    found = {name: elements.get(name) for name in _COLUMNS}
    found |= {"ks_channels": results["ks"]["mean"], "pixel_auroc": results["mean"]["pixel_auroc"]}
    losses = [
        json.loads(line)["loss"] for line in read_text(places.workdir(job) / "metrics.jsonl").splitlines()
    ]
    return found | {"loss": losses[-1] if losses else None}


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _csv(rows: list[list]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
