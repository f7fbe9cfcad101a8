"""What `time_to_auroc.py` found, as a table, a line of JSON and a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}
REFERENCE = "pytorch_paper"
TITLES = {
    REFERENCE: "published, PyTorch + FrEIA",
    "paper": "hgad_jax, preset paper",
    "default": "hgad_jax, preset default",
}
_MINUTES = (1, 5, 30, 50)  # of the table, and each side's end

Curves = dict[str, list[dict[str, Any]]]  # side → a curve per seed


def values(curves: Sequence[dict[str, Any]], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Minutes at which all seeds have a point, mean over seeds; and the metric there, `[seeds, points]`."""
    count = min(len(curve["points"]) for curve in curves)
    points = [curve["points"][:count] for curve in curves]
    minutes = np.mean([[p["minutes"] for p in row] for row in points], 0)
    return minutes, np.array([[p[metric] for p in row] for row in points])


def line(curves: Curves, floor: dict[str, Any] | None, speed: dict[str, float]) -> dict[str, Any]:
    """The last line of standard output."""
    result: dict[str, Any] = {}
    for side, of_seeds in curves.items():
        result[side] = {"minutes": round(float(values(of_seeds, "image_auroc")[0][-1]), 2)}
        result[side] |= {m: round(float(values(of_seeds, m)[1][:, -1].mean()), 4) for m in _metrics(of_seeds)}
    if floor:
        result["floor"] = {m: round(floor[m], 4) for m in METRICS if m in floor}
    if REFERENCE in curves:
        result["minutes_to_pytorch"] = {side: reached(curves, side) for side in curves if side != REFERENCE}
    return result | speed


def reached(curves: Curves, side: str) -> dict[str, float | None]:
    """First evaluated minute at which a side's mean is at least what PyTorch's is at its end; None: never."""
    result = {}
    for metric in _metrics(curves[side]):
        minutes, found = values(curves[side], metric)
        enough = np.flatnonzero(found.mean(0) >= values(curves[REFERENCE], metric)[1][:, -1].mean())
        result[metric] = round(float(minutes[enough[0]]), 2) if len(enough) else None
    return result


def _metrics(curves: Sequence[dict[str, Any]]) -> list[str]:
    return [m for m in METRICS if all(m in p for curve in curves for p in curve["points"])]


def table(curves: Curves, floor: dict[str, Any] | None, head: str) -> str:
    """Markdown: each side at a few minutes and at its end."""
    sample = floor or next(iter(curves.values()))[0]["points"][0]
    columns = [(name, m) for name in ("", *sample["classes"]) for m in METRICS if m in _found(sample, name)]
    titles = [f"{name or 'mean'}: {METRICS[m]}" for name, m in columns]
    lines = [head, "", "| side | minutes | passes | " + " | ".join(titles) + " |"]
    lines += ["| --- |" + " --- |" * (len(titles) + 2)]
    if floor:
        cells = [f"{_found(floor, name)[m]:.3f}" for name, m in columns]
        lines.append("| untrained Gaussian | – | – | " + " | ".join(cells) + " |")
    for side, of_seeds in curves.items():
        minutes, _ = values(of_seeds, "image_auroc")
        wanted = {int(np.argmin(abs(minutes - m))) for m in _MINUTES if m <= minutes[-1] * 1.02}
        for index in sorted(wanted | {len(minutes) - 1}):
            points = [curve["points"][index] for curve in of_seeds]
            cells = [_cell([_found(p, name)[m] for p in points]) for name, m in columns]
            passes = np.mean([p["passes"] for p in points])
            lines.append(
                f"| {TITLES[side]} | {minutes[index]:.3g} | {passes:.3g} | " + " | ".join(cells) + " |"
            )
    if REFERENCE in curves:
        lines += [
            "",
            f"First evaluated minute at which a side is level with the end of {TITLES[REFERENCE]}:",
            "",
        ]
        for side in curves:
            if side != REFERENCE:
                each = (f"{METRICS[m]} {_or_never(at)}" for m, at in reached(curves, side).items())
                lines.append(f"- {TITLES[side]}: " + ", ".join(each))
    return "\n".join(lines) + "\n"


def _found(point: dict[str, Any], name: str) -> dict[str, float]:
    """A class's metrics; those of "" are means over classes."""
    return point["classes"][name] if name else point


def _cell(found: Sequence[float]) -> str:
    return f"{np.mean(found):.3f}" + (f" ± {np.std(found):.3f}" if len(found) > 1 else "")


def _or_never(minutes: float | None) -> str:
    return "never" if minutes is None else f"after {minutes:g} min"
