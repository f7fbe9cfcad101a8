"""The stability report: `stability.json`, out of what the log of metrics has of the test set."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hgad_jax.files import read_text, write_atomically
from hgad_jax.runs import processes
from hgad_jax.training import metric_log

FILE = "stability.json"
PREFIX = "test/"  # of the mean over classes in the log; of a class: `name_of`
METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")


def name_of(class_name: str, metric: str) -> str:
    """A class's metric in the log."""
    return f"{PREFIX}{class_name}/{metric}"


def load(directory: Path) -> dict[str, Any] | None:
    """The report of a run; None of one without."""
    path = directory / FILE
    return json.loads(read_text(path)) if path.exists() else None


def write(config: Any, directory: Path, steps_per_epoch: float, log: Callable[[str], None]) -> None:
    """Makes the report of a run with a window; by the first process, which has written the log of metrics.

    Args:
      config: of the run.
      directory: likewise.
      steps_per_epoch: of training.
      log: gets a line for each metric.
    """
    window = list(config.eval.window)
    if not window or not processes.is_first():
        return
    lines = read_text(directory / metric_log.FILE).splitlines()
    measured = [m for m in map(json.loads, lines) if any(k.startswith(PREFIX) for k in m)]
    found = _report(measured, steps_per_epoch)
    write_atomically(directory / FILE, json.dumps({"window": window, **found}, indent=2) + "\n")
    if not measured:
        log(f"Training has ended before config.eval.window, {tuple(window)}: no figures")
    for line in described(found | {"window": window}):
        log(line)


def _report(measured: Sequence[Mapping[str, float]], steps_per_epoch: float) -> dict[str, Any]:
    """Of the mean over classes, and under `classes` of each: mean, deviation, best, last and all values."""
    steps = [int(m["step"]) for m in measured]
    known = {name for m in measured for name in m if name.startswith(PREFIX)}
    classes = sorted({name.removeprefix(PREFIX).rpartition("/")[0] for name in known} - {""})
    others = sorted({name.rpartition("/")[2] for name in known} - set(METRICS))

    def metrics(prefix):
        return {
            metric: _summary([m[prefix + metric] for m in measured if prefix + metric in m])
            for metric in (*METRICS, *others)
            if prefix + metric in known
        }

    of_classes = {name: metrics(name_of(name, "")) for name in classes}
    return {
        "steps": steps,
        "epochs": [round(step / steps_per_epoch, 6) for step in steps],
        **_with_best(metrics(PREFIX), steps, of_classes),
        "classes": of_classes,
    }


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "best": max(values),
        "last": values[-1],
        "values": list(values),
    }


def _with_best(
    means: dict[str, dict[str, Any]], steps: Sequence[int], classes: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Each metric of the mean with the step of its best, and what each class has at that step.

    HGAD's tables are made so: the rows of classes are those of the two states whose means are best.
    """
    for metric, summary in means.items():
        at = summary["values"].index(summary["best"])  # the first one, as only a higher one takes its place
        of_classes = {k: v[metric]["values"][at] for k, v in classes.items() if metric in v}
        summary |= {"best_step": steps[at], "classes_at_best": of_classes}
    return means


def rows(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The metrics of each class and of their mean, by name."""
    mean = {metric: report[metric] for metric in METRICS if metric in report}
    classes = report.get("classes", {})
    return {**classes, **({"mean": mean} if len(classes) != 1 else {})} if mean else {}


def described(report: Mapping[str, Any]) -> list[str]:
    """A line for each metric: over the window, the best and the last, of the mean over classes."""
    first, last = report["window"]
    return [
        f"Test {name} over {len(report['steps'])} evaluations in epochs {first:g} to {last:g}: "
        f"{found['mean']:.4f} ± {found['std']:.4f} (last: {found['last']:.4f}; best, chosen on the test set: "
        f"{found['best']:.4f})"
        for name, found in report.items()
        if isinstance(found, Mapping) and "values" in found
    ]
