"""The figure of `time_to_auroc.py`: plain SVG, as the report's charts are, dark where the page is dark."""

import html
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from auroc_report import TITLES, Curves, values

from hgad_jax.report.figures import ticks

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _GAP = 380, 260, 50, 30, 44, 20  # of a panel, and around it
_START = 0.25  # minutes: where an axis of logarithms shows zero
_STYLE = """
text{font:12px system-ui,sans-serif;fill:#59636e}.title{font-weight:600;fill:#1c2128}
.axis{stroke:#59636e;fill:none}.floor{stroke:#8a3ffc;stroke-dasharray:5 3;fill:none}
.line{fill:none;stroke-width:2}.band{fill-opacity:.2;stroke-opacity:0}
.pytorch_paper{stroke:#e0662b;fill:#e0662b}.paper{stroke:#2b9a66;fill:#2b9a66}
.default{stroke:#2f7ebc;fill:#2f7ebc}.line.pytorch_paper,.line.paper,.line.default{fill:none}
@media(prefers-color-scheme:dark){text{fill:#9aa5b1}.title{fill:#e4e8ec}.axis{stroke:#9aa5b1}}
"""
_PANELS = (("image_auroc", "image AUROC, mean of classes"), ("pixel_auroc", "pixel AUROC, magnetic tile"))


def figure(curves: Curves, floor: dict[str, Any] | None) -> str:
    """Both metrics over minutes of training: a line of means per side, a band from lowest to highest seed."""
    panels = [
        (m, title)
        for m, title in _PANELS
        if all(m in p for c in curves.values() for s in c for p in s["points"])
    ]
    width = len(panels) * (_LEFT + _WIDTH + _GAP)
    height = _TOP + _HEIGHT + _BOTTOM + 18 * (len(curves) + bool(floor)) + 6
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">']
    parts += [f"<title>AUROC over minutes of training</title><style>{_STYLE}</style>"]
    for number, (metric, title) in enumerate(panels):
        shift = number * (_LEFT + _WIDTH + _GAP) + _LEFT
        inside = _panel(curves, metric, title, floor[metric] if floor and metric in floor else None)
        parts.append(f'<g transform="translate({shift} {_TOP})">{"".join(inside)}</g>')
    parts += _legend(curves, floor)
    return "".join([*parts, "</svg>\n"])


def _panel(curves: Curves, metric: str, title: str, floor: float | None) -> list[str]:
    found = {side: values(of_seeds, metric) for side, of_seeds in curves.items()}
    heights = np.concatenate([v.ravel() for _, v in found.values()] + [np.ravel(floor or [])])
    low, high = float(heights.min()), float(heights.max())
    margin = 0.05 * (high - low) or 0.01
    last = max(float(minutes[-1]) for minutes, _ in found.values())
    x = _log_scale(max(last, 2 * _START))
    y = _linear_scale(low - margin, high + margin)
    parts = [f'<text class="title" x="{_WIDTH / 2}" y="-10" text-anchor="middle">{title}</text>']
    if floor is not None:
        parts.append(f'<path class="floor" d="M0 {y(floor):.1f}H{_WIDTH}"/>')
    for side, (minutes, of_seeds) in found.items():
        at = [x(m) for m in minutes]
        bounds = (of_seeds.min(0), of_seeds.max(0))
        edge = [*zip(at, bounds[1], strict=True), *reversed(list(zip(at, bounds[0], strict=True)))]
        parts.append(f'<path class="band {side}" d="M{_path(edge, y)}Z"/>')
        mean = zip(at, of_seeds.mean(0), strict=True)
        parts.append(f'<path class="line {side}" d="M{_path(list(mean), y)}"/>')
    return parts + _axes(x, y, last, (low - margin, high + margin))


def _path(points: Sequence[tuple[float, float]], y: Callable[[float], float]) -> str:
    return "L".join(f"{a:.1f} {y(b):.1f}" for a, b in points)


def _axes(x: Callable, y: Callable, last: float, heights: tuple[float, float]) -> list[str]:
    parts = [f'<path class="axis" d="M0 0V{_HEIGHT}H{_WIDTH}"/>']
    marks = [(0.0, "0"), *((m, f"{m:g}") for m in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if m <= last)]
    parts += [_text(x(m), _HEIGHT + 16, label, "middle") for m, label in marks]
    parts += [_text(-6, y(v) + 4, f"{v:g}", "end") for v in ticks(*heights, 8)]
    return [*parts, _text(_WIDTH / 2, _HEIGHT + 34, "minutes of training", "middle")]


def _legend(curves: Curves, floor: dict[str, Any] | None) -> list[str]:
    names = [(f"line {side}", TITLES[side]) for side in curves]
    names += [("floor", "untrained Gaussian")] if floor else []
    parts = []
    for number, (kind, name) in enumerate(names):
        at = _TOP + _HEIGHT + _BOTTOM + 6 + 18 * number
        parts.append(f'<path class="{kind}" d="M{_LEFT} {at}h28"/>')
        parts.append(_text(_LEFT + 36, at + 4, name, "start"))
    return parts


def _log_scale(last: float) -> Callable[[float], float]:
    span = math.log(last / _START)
    return lambda minutes: _WIDTH * math.log(max(float(minutes), _START) / _START) / span


def _linear_scale(low: float, high: float) -> Callable[[float], float]:
    return lambda value: _HEIGHT * (1 - (float(value) - low) / (high - low))


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
