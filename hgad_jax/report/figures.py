"""Charts as plain SVG, coloured by the page's style sheet: small, sharp, and dark where the page is dark."""

import html
import math
from collections.abc import Callable, Sequence

import numpy as np

from hgad_jax.inference.plain_names import plain

_WIDTH, _HEIGHT = 320, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 10, 40  # room for the axes


def histogram(
    good: np.ndarray, bad: np.ndarray, edges: np.ndarray, *, label: str, line: tuple[float, str] | None = None
) -> str:
    """Two histograms over one another, each as the share of its kind.

    Args:
      good: counts of good ones in each bin, `[n]`.
      bad: of defective ones.
      edges: of the bins, `[n + 1]`.
      label: of the x axis.
      line: where to draw a vertical line, and its name.
    """
    shares = [counts / max(counts.sum(), 1) for counts in (good, bad)]
    top = max(*(share.max(initial=0) for share in shares), 1e-9)
    low, high = float(edges[0]), float(edges[-1])
    if line:
        low, high = min(low, line[0]), max(high, line[0])
    x, y = _scale(low, high, _LEFT, _WIDTH - _RIGHT), _scale(0, top, _HEIGHT - _BOTTOM, _TOP)
    parts = [
        _area(share, edges, x, y, kind)
        for kind, share in zip(("good", "bad"), shares, strict=True)
        if share.any()
    ]
    if line:
        at = x(line[0])
        anchor, shift = ("end", -4) if at > _WIDTH / 2 else ("start", 4)
        parts.append(f'<path class="limit" d="M{at:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
        parts.append(_text(at + shift, _TOP + 10, line[1], anchor))
    return _svg(f"Histogram of {label}", [*parts, *_axes(x, y, (low, high), (0, top), label, percent=True)])


def curves(
    lines: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    right: float,
    labels: tuple[str, str],
    from_origin: bool = True,
) -> str:
    """Curves over the false-positive rate.

    Args:
      lines: class of the style sheet, x and y of each.
      right: end of the x axis.
      labels: of the axes.
      from_origin: whether they begin at (0, 0), as an ROC does.
    """
    x, y = _scale(0, right, _LEFT, _WIDTH - _RIGHT), _scale(0, 1, _HEIGHT - _BOTTOM, _TOP)
    parts = [f'<path class="chance" d="M{x(0):.1f} {y(0):.1f}L{x(right):.1f} {y(right):.1f}"/>']
    for kind, xs, ys in lines:
        points = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        start = f"M{x(0):.1f} {y(0):.1f}L" if from_origin else "M"
        parts.append(f'<path class="curve {kind}" d="{start}{points}"/>')
    return _svg(f"{labels[1]} over {labels[0]}", [*parts, *_axes(x, y, (0, right), (0, 1), labels[0])])


def course(
    lines: Sequence[tuple[str, np.ndarray, np.ndarray]], *, window: tuple[float, float], label: str
) -> str:
    """Values over the epochs of training, each evaluation a point.

    Args:
      lines: class of the style sheet, epochs and values of each.
      window: first and last epoch of the x axis.
      label: of what is drawn.
    """
    values = np.concatenate([ys for *_, ys in lines])
    low, high = float(values.min()), float(values.max())
    margin = max((high - low) / 20, 1e-3)
    low, high = max(low - margin, 0.0), min(high + margin, 1.0)
    left, right = window if window[1] > window[0] else (window[0] - 0.5, window[1] + 0.5)
    x, y = _scale(left, right, _LEFT, _WIDTH - _RIGHT), _scale(low, high, _HEIGHT - _BOTTOM, _TOP)
    parts = []
    for kind, xs, ys in lines:
        points = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        # A zero-length dash with round ends shows an evaluation that stands alone.
        parts.append(f'<path class="curve {kind}" stroke-linecap="round" d="M{points}h0"/>')
    return _svg(f"{label} over epochs", [*parts, *_axes(x, y, (left, right), (low, high), "epoch")])


def _area(share: np.ndarray, edges: np.ndarray, x: Callable, y: Callable, kind: str) -> str:
    steps = "".join(f"V{y(s):.1f}H{x(e):.1f}" for s, e in zip(share, edges[1:], strict=True))
    return f'<path class="area {kind}" d="M{x(edges[0]):.1f} {y(0):.1f}{steps}V{y(0):.1f}Z"/>'


def _axes(x: Callable, y: Callable, xs, ys, label: str, percent: bool = False) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{_WIDTH - _RIGHT}"/>']
    for value in ticks(*xs):
        parts.append(_text(x(value), bottom + 15, f"{value:g}", "middle"))
    low, high = ys
    for value in ticks(low, high, 4):
        shown = f"{value * 100:g}%" if percent else f"{value:g}"
        parts.append(_text(_LEFT - 5, y(value) + 4, shown, "end"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, label, "middle"))
    return parts


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers between two values."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(f for f in (1, 2, 5, 10, 20) if (high - low) / (step * f) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (float(value) - low) / span * (end - start)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(plain(text))}</text>'


def _svg(title: str, parts: Sequence[str]) -> str:
    name = html.escape(plain(title), quote=True)
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">'
    return "".join([head, *parts, "</svg>"])
