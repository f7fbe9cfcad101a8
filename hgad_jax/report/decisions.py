"""The part of the report on decisions: product by product what was promised, and what came of it."""

import html
from typing import Any

from hgad_jax.evaluation.table import broken_promise
from hgad_jax.inference.plain_names import plain

_HEADS = ("class", "threshold", "promised", "false alarms", "misses", "of no known class")


def render(results: dict[str, Any]) -> str:
    """A table, and a sentence for each promise that is broken; "" where scores have no thresholds."""
    known = {name: values for name, values in results["classes"].items() if "threshold" in values}
    if not known:
        return ""
    head = "".join(f"<th scope='col'>{text}</th>" for text in _HEADS)
    rows = "".join(_row(name, values) for name, values in known.items())
    broken = "".join(
        f"<p class='warn'>{html.escape(plain(' '.join(lines)))}</p>"
        for name in known
        if (lines := broken_promise(results, name))
    )
    return (
        f"<h2>Decisions</h2><div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        f"</table></div>{broken}<p><small>Below a share its 95 % interval.</small></p>"
    )


def _row(name: str, values: dict[str, Any]) -> str:
    good, bad = values["images"] - values["anomalous"], values["anomalous"]
    low, high = values["promised_ci"]
    cells = (
        f"{values['threshold']:.4g}<small class='soft'>{html.escape(values['threshold_kind'])}</small>",
        f"{values['promised']:.1%}<small class='soft'>{low:.1%}–{high:.1%}</small>",
        _share(values["false_alarms"], good, values["false_alarm_rate_ci"]),
        _share(values["misses"], bad, values["miss_rate_ci"]),
        str(values["unknown"]),
    )
    body = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><th scope='row'>{html.escape(plain(name), quote=True)}</th>{body}</tr>"


def _share(number: int, total: int, ci: list[float] | None) -> str:
    if ci is None:
        return "–"
    return f"{number} of {total}, {number / total:.1%}<small class='soft'>{ci[0]:.1%}–{ci[1]:.1%}</small>"
