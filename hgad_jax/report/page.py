"""The report: one HTML file that holds everything it shows and asks nothing of any network.

Its content policy forbids scripts and any load but of the pictures inside it, so that a browser enforces
this. Names come from folders and are escaped wherever they appear.
"""

import html
import importlib.metadata
import json
import platform
from typing import Any

import jax
import numpy as np

from hgad_jax.evaluation.decided import Decided
from hgad_jax.evaluation.evaluated import Evaluated
from hgad_jax.evaluation.measure import COLUMNS
from hgad_jax.inference.heatmap import overlay
from hgad_jax.inference.plain_names import plain
from hgad_jax.report import class_section, decisions, stability
from hgad_jax.report.style import STYLE
from hgad_jax.runs.workdir import config_as_json
from hgad_jax.scoring.threshold import Threshold

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_HIGHEST = 4  # end of the colour scale, in steps of the threshold's distance from a typical good pixel
_OPEN = 3  # classes whose section is unfolded at first
_HEADS = {
    "auroc": "AUROC",
    "ap": "AP",
    "f1_max": "F1-max",
    "aupro": "AUPRO",
    "aupro_dfr1000": "AUPRO, DFR’s",
    "aupimo": "AUPIMO",
}
_PACKAGES = ("hgad_jax", "jax", "flax", "numpy", "pillow")


def render(evaluated: Evaluated) -> str:
    """The report as HTML: about 150 KB a class, less where there are very many."""
    results, names = evaluated.results, evaluated.test.classes
    shown = [k for k in range(len(names)) if evaluated.test.of_class(k)]
    sections = [class_section.render(evaluated, k, unfolded=len(shown) <= _OPEN) for k in shown]
    title = f"Evaluation of {results['dataset']}"
    body = [
        f"<h1>{_e(title)}</h1><p class='soft'>{_e(_subtitle(evaluated))}</p>",
        _cards(results),
        f"<h2>Metrics</h2>{_table(results)}{_notes(results)}",
        decisions.render(results),
        stability.render(results),
        f"<h2>Classes</h2>{_contents(results, shown, names)}{_legend(evaluated.decided)}",
        *sections,
        f"<h2>Settings and versions</h2>{_settings(evaluated)}",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_e(title)}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _e(text: Any) -> str:
    return html.escape(plain(str(text)), quote=True)


def _subtitle(evaluated: Evaluated) -> str:
    results, test = evaluated.results, evaluated.test
    bad = int(test.anomalous.sum())
    text = (
        f"{len(test) - bad} good and {bad} defective images of {len(set(test.labels.tolist()))} class(es), "
        f"split {results['split']}; {evaluated.config.detector.name} after {results['step']} steps; "
        f"protocol {results['protocol']}, class of test images {results['class_of_test_images']}"
    )
    if results["protocol"] == "paper":
        text += (
            ". Scores of this protocol hang on the whole test set: compare them with published tables only"
        )
    return text + "."


def _cards(results: dict[str, Any]) -> str:
    mean = results["mean"]
    cards = [
        (label, f"{mean[column]:.3f}", _interval(mean[f"{column}_ci"]) or "mean over classes")
        for column, label in (
            ("image_auroc", "Image AUROC"),
            ("pixel_auroc", "Pixel AUROC"),
            ("pixel_aupro", "AUPRO"),
        )
        if mean[column] is not None
    ]
    classes = [values for values in results["classes"].values() if "threshold" in values]
    if classes:
        good = sum(values["images"] - values["anomalous"] for values in classes)
        bad = sum(values["anomalous"] for values in classes)
        alarms, misses = (sum(values[key] for values in classes) for key in ("false_alarms", "misses"))
        if good:
            cards.append(("False alarms", f"{alarms / good:.1%}", f"{alarms} of {good} good images"))
        if bad:
            cards.append(("Defects found", f"{1 - misses / bad:.1%}", f"{bad - misses} of {bad} images"))
    if results["class_accuracy"] is not None and len(results["classes"]) > 1:
        cards.append(("Class found", f"{results['class_accuracy']:.1%}", "right among the classes"))
    parts = [f'<div class="card">{_e(a)}<b>{_e(b)}</b><small>{_e(c)}</small></div>' for a, b, c in cards]
    return f'<div class="cards">{"".join(parts)}</div>'


def _table(results: dict[str, Any]) -> str:
    everything = [*results["classes"].values(), results["mean"], results["pooled"]]
    columns = [c for c in COLUMNS if any(values[c] is not None for values in everything)]
    published = results.get("published", {})
    rows = [
        _row(f'<a href="#c{k}">{_e(name)}</a>', values, columns, published.get("classes", {}).get(name, {}))
        for k, (name, values) in enumerate(results["classes"].items())
    ]
    if len(results["classes"]) > 1:
        rows.append(_row("mean of classes", results["mean"], columns, published.get("mean", {}), "sum"))
        rows.append(_row("pooled", results["pooled"], columns, {}, "sum"))
    heads = "".join(f'<th scope="col">{_HEADS[column.split("_", 1)[1]]}</th>' for column in columns)
    groups = "".join(
        f'<th scope="colgroup" colspan="{count}">{level}s</th>'
        for level in ("image", "pixel")
        if (count := sum(column.startswith(level) for column in columns))
    )
    return (
        f'<div class="wide"><table><thead><tr><th></th>{groups}</tr>'
        f'<tr><th scope="col">class</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, values: dict, columns: list[str], published: dict, kind: str = "") -> str:
    cells = [f"<td>{_cell(values[c], values[f'{c}_ci'], published.get(c))}</td>" for c in columns]
    return f'<tr class="{kind}"><th scope="row">{name}</th>{"".join(cells)}</tr>'


def _cell(value: float | None, ci: list[float] | None, published: float | None) -> str:
    if value is None:
        return "–"
    parts = [f"{value:.3f}"]
    if ci:
        parts.append(f"<small class='soft'>{_interval(ci)}</small>")
    if published is not None:
        parts.append(f"<small class='soft'>published {published:.3f}</small>")
    return "".join(parts)


def _interval(ci: list[float] | None) -> str:
    return "" if ci is None else f"{ci[0]:.3f}–{ci[1]:.3f}"


def _notes(results: dict[str, Any]) -> str:
    notes = ["Pooled: all images, or all pixels of classes with masks, as one set. The mean is over classes."]
    if results["bootstrap"]["replicates"]:
        notes.insert(
            0,
            f"Below each figure its {results['bootstrap']['level']:.0%} interval: images resampled "
            f"{results['bootstrap']['replicates']} times.",
        )
    if "published" in results:
        notes.append(f"Published figures: {results['published']['source']}.")
    return f"<p><small>{_e(' '.join(notes))}</small></p>"


def _contents(results: dict[str, Any], shown: list[int], names: tuple[str, ...]) -> str:
    def figure(name):
        value = results["classes"][name]["image_auroc"]
        return "" if value is None else f" <span>{value:.3f}</span>"

    items = [f'<li><a href="#c{k}">{_e(names[k])}{figure(names[k])}</a></li>' for k in shown]
    return f'<ul class="toc">{"".join(items)}</ul>'


def _legend(decided: Decided) -> str:
    """How to read pictures and scores."""
    scores = ""
    if decided.judged is not None:
        scores = " In brackets: the score from 0 to 1, an image being called defective above 0.5."
    masks = (
        " The white line is what pixels from τ on find, the threshold with the highest F1 on these pixels."
        if decided.judged is None
        else ""
    )
    levels = np.linspace(0, _HIGHEST, 25)
    unit = Threshold(1.0, 0.0, (0.0, 0.0), 0, "unit", 0.0)
    colours = overlay(np.full((1, len(levels), 3), 153, np.uint8), levels[None], unit)[0]
    stops = "".join(
        f'<stop offset="{level / _HIGHEST:.3f}" stop-color="rgb({red},{green},{blue})"/>'
        for level, (red, green, blue) in zip(levels, colours, strict=True)
    )
    labels = ((0, "typical good", "start"), (1, "threshold", "middle"), (2, "2×", "middle"))
    marks = "".join(
        f'<text x="{level / _HIGHEST * 400:.0f}" y="34" text-anchor="{anchor}">{text}</text>'
        for level, text, anchor in (*labels, (3, "3×", "middle"), (_HIGHEST, f"{_HIGHEST}×", "end"))
    )
    return (
        '<div class="scale"><svg viewBox="0 0 400 38" role="img" aria-label="colour scale of heat maps">'
        f'<linearGradient id="heat">{stops}</linearGradient>'
        f'<rect width="400" height="20" rx="4" fill="url(#heat)"/>{marks}</svg><small>One colour scale for '
        "all heat maps: distance from a typical good pixel, in steps of the threshold's. The blue-green line "
        f"is the edge of the true defect.{scores}{masks}</small></div>"
    )


def _settings(evaluated: Evaluated) -> str:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    versions |= {"python": platform.python_version(), "devices": ", ".join(_devices())}
    config = json.dumps(config_as_json(evaluated.config), indent=2, sort_keys=True)
    return "".join(
        f"<details><summary>{name}</summary><pre>{html.escape(text)}</pre></details>"
        for name, text in (("Config", config), ("Versions", json.dumps(versions, indent=2)))
    )


def _devices() -> list[str]:
    kinds = [device.device_kind for device in jax.devices()]
    return [f"{kinds.count(kind)} × {kind}" for kind in np.unique(kinds)]
