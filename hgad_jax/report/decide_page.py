"""The page of `hgad-jax decide`: for each class a table and a figure over the rate of false alarms."""

import html
from typing import Any

import numpy as np

from hgad_jax.evaluation.decide import Advice
from hgad_jax.inference.plain_names import plain
from hgad_jax.report.figures import curves
from hgad_jax.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render(found: Advice) -> str:
    """The page as HTML; it loads nothing."""
    now = "".join(f"<li>{html.escape(plain(line))}</li>" for line in found.now)
    sections = "".join(_section(found, name, rows) for name, rows in found.tables.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Choosing a threshold</title><style>{STYLE}</style></head><body>"
        f"<h1>Choosing a threshold</h1><p>The run decides by:</p><ul>{now}</ul>{sections}</body></html>\n"
    )


def _section(found: Advice, name: str, rows: list[dict[str, Any]]) -> str:
    best = found.recommended.get(name)
    with_cost = best is not None
    heads = ["asked for", "threshold", "promised", "actual rate within", "false alarms", "misses"]
    heads += ["cost a part"] if with_cost else []
    body = "".join(
        f'<tr class="{"sum" if row is best else ""}">'
        + "".join(f"<td>{cell}</td>" for cell in _cells(row))
        + (f"<td>{row['cost']:.4g}</td>" if with_cost else "")
        + "</tr>"
        for row in rows
    )
    head = "".join(f"<th scope='col'>{text}</th>" for text in heads)
    note = "<p>The bold row costs least.</p>" if with_cost else ""
    return (
        f"<h2>{html.escape(plain(name))}</h2><div class='charts'>{_figure(rows)}</div>"
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["promised_ci"]
    return [
        f"{row['asked']:.2%}",
        f"{row['threshold']:.4g} ({row['kind']})",
        f"{row['promised']:.2%}",
        f"{low:.2%} to {high:.2%}",
        _share(row["false_alarms"], row["false_alarm_rate"]),
        _share(row["misses"], row["miss_rate"]),
    ]


def _share(number: int, rate: float | None) -> str:
    return "–" if rate is None else f"{rate:.1%} ({number})"


def _figure(rows: list[dict[str, Any]]) -> str:
    """Misses and false alarms on labelled images, and the promise, over the rate asked for."""
    xs = np.array([row["asked"] for row in rows])
    named = (("pixel", "miss_rate", "missed"), ("image", "false_alarm_rate", "rejected though good"))
    known = [(kind, key, text) for kind, key, text in named if rows[0][key] is not None]
    lines = [(kind, xs, np.array([row[key] for row in rows])) for kind, key, _ in known]
    lines.append(("pro", xs, np.array([row["promised"] for row in rows])))
    keys = ", ".join(f"<i class='key {kind}'></i>{text}" for kind, _, text in known)
    chart = curves(lines, right=float(xs[-1]), labels=("rate asked for", "share"), from_origin=False)
    keys = f"{keys}, " if keys else ""
    return (
        f"<figure>{chart}<figcaption>{keys}<i class='key pro'></i>promised false alarms</figcaption></figure>"
    )
