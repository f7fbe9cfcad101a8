"""The part of the report on a run that was measured on the test set while it was trained."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from hgad_jax.inference.plain_names import plain
from hgad_jax.report.figures import course
from hgad_jax.training.stability_report import METRICS, rows

_NAMES = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "pixel_aupro": "AUPRO"}
_KINDS = {"image_auroc": "image", "pixel_auroc": "pixel", "pixel_aupro": "pro"}


def render(results: Mapping[str, Any]) -> str:
    """The section as HTML; empty for a run without evaluations."""
    report = results.get("stability")
    found = rows(report) if report else {}
    if not report or not found:
        return ""
    charts = "".join(_chart(report, name, metrics) for name, metrics in reversed(found.items()))
    first, last = report["window"]
    return (
        f"<h2>While training</h2><p><small>{len(report['steps'])} evaluations in epochs {first:g} to "
        f"{last:g}, by the published protocol. Mean and deviation are what one gets without choosing; the "
        f"best is chosen on the test set.</small></p>{_table(found)}<div class='charts'>{charts}</div>"
    )


def _chart(report: Mapping[str, Any], name: str, metrics: Mapping[str, Any]) -> str:
    epochs = np.array(report["epochs"])
    lines = [
        (_KINDS[metric], epochs[: len(metrics[metric]["values"])], np.array(metrics[metric]["values"]))
        for metric in METRICS
        if metric in metrics
    ]
    keys = ", ".join(f"<i class='key {kind}'></i>{_NAMES[m]}" for m, kind in _KINDS.items() if m in metrics)
    title = "mean of classes" if name == "mean" else name
    chart = course(lines, window=tuple(report["window"]), label=title)
    return f"<figure>{chart}<figcaption>{html.escape(plain(title))}: {keys}</figcaption></figure>"


def _table(found: Mapping[str, Mapping[str, Any]]) -> str:
    metrics = [metric for metric in METRICS if any(metric in row for row in found.values())]
    groups = "".join(f'<th scope="colgroup" colspan="3">{_NAMES[metric]}</th>' for metric in metrics)
    heads = '<th scope="col">mean ± deviation</th><th scope="col">last</th><th scope="col">best</th>'
    lines = "".join(
        f'<tr class="{"sum" if name == "mean" else ""}"><th scope="row">{html.escape(plain(name))}</th>'
        + "".join(_cells(row.get(metric)) for metric in metrics)
        + "</tr>"
        for name, row in found.items()
    )
    return (
        f'<div class="wide"><table><thead><tr><th></th>{groups}</tr><tr><th scope="col">class</th>'
        f"{heads * len(metrics)}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _cells(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "<td>–</td>" * 3
    return (
        f"<td>{value['mean']:.3f} ± {value['std']:.3f}</td><td>{value['last']:.3f}</td>"
        f"<td>{value['best']:.3f}</td>"
    )
