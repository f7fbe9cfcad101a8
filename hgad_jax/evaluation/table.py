"""Results as lines of text."""

from typing import Any

from hgad_jax.evaluation.measure import COLUMNS
from hgad_jax.training import stability_report


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
    return "\n".join([head, *lines, *_decisions(results), *_stability(results), *_published(published)])


def _stability(results: dict[str, Any]) -> list[str]:
    """What a run with a window measured while it was trained, class by class."""
    report = results.get("stability", {})
    found = stability_report.rows(report) if report else {}
    if not found:
        return []
    width, (first, last) = max(map(len, found)), report["window"]
    lines = [
        f"while training, {len(report['steps'])} evaluations in epochs {first:g} to {last:g}: mean ± "
        "deviation, last, and best (chosen on the test set):"
    ]
    for name, metrics in found.items():
        cells = (
            f"{metric} {v['mean']:.4f} ± {v['std']:.4f}, {v['last']:.4f}, {v['best']:.4f}"
            for metric, v in metrics.items()
        )
        lines.append(f"  {name:<{width}}  {'; '.join(cells)}")
    return lines


def _published(published: dict[str, Any]) -> list[str]:
    """Where the published figures come from, and what was different then."""
    if not published:
        return []
    return [f"published: {published['source']}", *(f"  {text}" for text in published.get("differences", []))]


def _decisions(results: dict[str, Any]) -> list[str]:
    """What the thresholds make of the images of each class, where there are thresholds."""
    known = {name: values for name, values in results["classes"].items() if "threshold" in values}
    if not known:
        return []
    width = max(map(len, known))
    lines = ["at the thresholds (in brackets the 95 % interval of a share):"]
    for name, values in known.items():
        good, bad = values["images"] - values["anomalous"], values["anomalous"]
        alarms = _share(values["false_alarms"], good, values["false_alarm_rate_ci"])
        misses = _share(values["misses"], bad, values["miss_rate_ci"])
        said = "promised" if values["promise_p"] is not None else "estimated"
        lines.append(
            f"  {name:<{width}}  false alarms {alarms}, {said} {values['promised']:.1%}; misses {misses}"
            + (f"; {values['unknown']} unlike any class" if values["unknown"] else "")
        )
    return [*lines, *(line for name in known for line in broken_promise(results, name))]


def broken_promise(results: dict[str, Any], name: str) -> list[str]:
    """Lines on a class whose good test images are rejected more often than chance allows; none of others."""
    values = results["classes"][name]
    if not values.get("promise_broken"):
        return []
    good, p = values["images"] - values["anomalous"], values["promise_p"]
    lines = [
        f"{name}: {values['false_alarms']} of {good} good images rejected, {values['promised']:.1%} "
        f"promised, p {'< 1e-9' if p < 1e-9 else f'= {p:.1g}'}: these good images do not look like those "
        "that the threshold was taken from. Train on images of that kind, too (docs/thresholds.md)."
    ]
    return [*lines, *(f"  {text}" for text in results.get("shifts", {}).get(name, []))]


def _share(count: int, total: int, ci: list[float] | None) -> str:
    if ci is None:
        return "-"
    return f"{count} of {total} = {count / total:.1%} [{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]"


def _line(name: str, width: int, cells: list[str], widths: list[int]) -> str:
    return " ".join([f"{name:<{width}}", *(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(ci: list[float] | None) -> str:
    return "" if ci is None else "[" + ",".join(f"{v:.3f}".removeprefix("0") for v in ci) + "]"
