"""Results as lines of text."""

from typing import Any

from hgad_jax.evaluation.measure import COLUMNS

_COUNTS = ("images", "anomalous", "false_alarms", "misses")


def format_table(results: dict[str, Any]) -> str:
    """The metrics per class, their mean and the pooled ones, each with its interval below."""
    rows = [*results["classes"].items(), ("mean", results["mean"]), ("pooled", results["pooled"])]
    if len(results["classes"]) == 1:
        rows = rows[:1]
    published = results.get("published", {})
    figures = published.get("classes", {}) | {"mean": published.get("mean", {})}
    width = max(len(name) for name in [*(name for name, _ in rows), *(["published"] if published else [])])
    columns = [c for c in COLUMNS if any(values[c] is not None for _, values in rows)]
    widths = [max(12, len(c)) for c in columns]
    lines = [_line("", width, columns, widths)]
    for name, values in rows:
        lines.append(_line(name, width, [_number(values[c]) for c in columns], widths))
        intervals = [values[f"{c}_ci"] for c in columns]
        if any(intervals):
            lines.append(_line("", width, [_interval(ci) for ci in intervals], widths))
        if figures.get(name):
            lines.append(_line("published", width, [_number(figures[name].get(c)) for c in columns], widths))
    known = f"class of test images {results['class_of_test_images']}"
    if results["class_accuracy"] is not None:
        known += f", right for {results['class_accuracy']:.1%}"
    head = f"{results['dataset']}, protocol {results['protocol']}, {known}"
    if results["bootstrap"]["replicates"]:
        head += f"; [95 % interval, images resampled {results['bootstrap']['replicates']} times]"
    return "\n".join([head, *lines, *_decisions(list(results["classes"].values())), *_published(published)])


def _published(published: dict[str, Any]) -> list[str]:
    """Where the published figures come from, and what was different then."""
    if not published:
        return []
    return [f"published: {published['source']}", *(f"  {text}" for text in published.get("differences", []))]


def _decisions(classes: list[dict[str, Any]]) -> list[str]:
    """What the thresholds make of all images, where there are thresholds."""
    known = [values for values in classes if "threshold" in values]
    if not known:
        return []
    total = {key: sum(values[key] for values in known) for key in _COUNTS}
    good = total["images"] - total["anomalous"]
    return [
        f"at the thresholds: {total['false_alarms']} of {good} good images called defective, "
        f"{total['misses']} of {total['anomalous']} defective ones missed"
    ]


def _line(name: str, width: int, cells: list[str], widths: list[int]) -> str:
    return " ".join([f"{name:<{width}}", *(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(ci: list[float] | None) -> str:
    return "" if ci is None else "[" + ",".join(f"{v:.3f}".removeprefix("0") for v in ci) + "]"
