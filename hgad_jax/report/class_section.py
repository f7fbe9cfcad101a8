"""The part of the report on one class: histograms, curves, a gallery."""

import html
import os
from collections.abc import Mapping

import numpy as np

from hgad_jax.data.geometry import Transform
from hgad_jax.data.tiles import tile_boxes
from hgad_jax.data.transforms import ImageLike, load_image
from hgad_jax.errors import UserError
from hgad_jax.evaluation.evaluated import Evaluated
from hgad_jax.evaluation.scored import Scored
from hgad_jax.evaluation.table import broken_promise
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.plain_names import plain
from hgad_jax.metrics.curves import FPR_LIMIT, CurveSamples, CurveSums, Points, points_of
from hgad_jax.metrics.pixel import RATES
from hgad_jax.report import gallery
from hgad_jax.report.figures import curves, histogram
from hgad_jax.report.pictures import jpeg
from hgad_jax.scoring.threshold import describe

_BINS = 36
_SHOWN = 3  # images in each row of the gallery
_TOTAL = 24e6  # bytes of all galleries
_EACH = 13e3  # bytes of one image in a gallery, at most


def render(evaluated: Evaluated, class_id: int, *, unfolded: bool) -> str:
    """The section as HTML, folded away or not."""
    test, name = evaluated.test, evaluated.test.classes[class_id]
    values = evaluated.results["classes"][name]
    count = int(min(_SHOWN, _TOTAL / _EACH / 3 / len(test.classes)))
    tau = values.get("f1_max_thresholds", {}).get("pixel")
    rows = gallery.choose(test, evaluated.decided, class_id, count)
    shots = "".join(
        f"<h3>{html.escape(plain(row.title))}</h3><div class='shots'>"
        + gallery.figures(test, evaluated.scored, row.indices, evaluated.scales, evaluated.decided, tau)
        + "</div>"
        for row in rows
    )
    facts = f"{values['images'] - values['anomalous']} good, {values['anomalous']} defective"
    if values["image_auroc"] is not None:
        facts += f" · image AUROC {values['image_auroc']:.3f}"
    return (
        f"<details class='class'{' open' if unfolded else ''}><summary>{html.escape(plain(name))} "
        f"<span>{facts}</span></summary><div id='c{class_id}'>"
        f"<div class='charts'>{''.join(_charts(evaluated, class_id))}</div>"
        f"{_threshold(evaluated, class_id)}{_apart(evaluated, name)}{shots}</div></details>"
    )


def _threshold(evaluated: Evaluated, class_id: int) -> str:
    """What the threshold promises."""
    decision = evaluated.decided.decision
    if decision is None:
        return ""
    said = describe(decision.thresholds[class_id], decision.rates[class_id])
    name = evaluated.test.classes[class_id]
    broken = " ".join(broken_promise(evaluated.results, name))
    warning = f"<p class='warn'>{html.escape(plain(broken))}</p>" if broken else ""
    table = _choices(evaluated.results["choices"][name]) if name in evaluated.results["choices"] else ""
    return f"{warning}<p><small>Threshold {html.escape(said)}.</small></p>{table}"


def _apart(evaluated: Evaluated, name: str) -> str:
    """Good images of calibration that score far above all others."""
    odd = evaluated.results.get("apart", {}).get(name, [])
    if not odd:
        return ""
    plain_transform = evaluated.test.transform._replace(detail=1)
    figures = "".join(_odd_figure(one, evaluated.good_images, plain_transform) for one in odd[:_SHOWN])
    return (
        f"<h3>Good images of calibration that stand apart: {len(odd)}</h3><p><small>They score far above all "
        f"other good images (the highest of these: {odd[0]['next']:.3g}). Are they good?</small></p>"
        f"<div class='shots'>{figures}</div>"
    )


def _odd_figure(odd: dict, good_images: Mapping[str, ImageLike], transform: Transform) -> str:
    caption = html.escape(plain(f"{os.path.basename(odd['name'])} · score {odd['score']:.3g}"))
    try:
        picture = jpeg(load_image(good_images[odd["name"]], transform))
    except (KeyError, UserError, OSError):
        return f"<figure><figcaption>{caption} (no longer there)</figcaption></figure>"
    image = f'<img loading="lazy" decoding="async" alt="{caption}" src="{picture}">'
    pictures = f'<div class="pair"><div class="pic">{image}</div></div>'
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


def _choices(rows: list[dict]) -> str:
    """Other rates of false alarms, and what they would have cost on these images."""

    def percent(value, digits=1):
        return "–" if value is None else f"{value:.{digits}%}"

    heads = ("promised", "threshold", "actual rate within", "false alarms here", "misses here")
    lines = "".join(
        f"<tr><th scope='row'>{percent(row['promised'], 2)}</th><td>{row['threshold']:.4g}</td>"
        f"<td>{percent(row['promised_ci'][0])} to {percent(row['promised_ci'][1])}</td>"
        f"<td>{percent(row['false_alarm_rate'])}</td><td>{percent(row['miss_rate'])}</td></tr>"
        for row in rows
    )
    head = "".join(f"<th scope='col'>{text}</th>" for text in heads)
    return (
        "<details><summary>Other thresholds</summary><div class='wide'><table><thead><tr>"
        f"{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


def _charts(evaluated: Evaluated, class_id: int):
    test, scored = evaluated.test, evaluated.scored
    yield _figure(
        _scores(evaluated, class_id),
        "Scores of <i class='key good'></i>good and <i class='key bad'></i>defective images",
    )
    pixels = evaluated.measured.pixels[class_id]
    lines = []
    image = _image_roc(test, scored, class_id)
    if image is not None:
        lines.append(("image", RATES[::4], image[::4]))
    if pixels is not None and pixels.metrics["auroc"] is not None:
        lines.append(("pixel", RATES[::4], pixels.samples.recall[::4]))
    if lines:
        keys = " and ".join(f"<i class='key {kind}'></i>{kind}s" for kind, *_ in lines)
        chart = curves(lines, right=1.0, labels=("false-positive rate", "recall"))
        yield _figure(chart, f"ROC: recall of {keys}")
    if pixels is not None and pixels.metrics["aupro"] is not None:
        inside = FPR_LIMIT >= RATES
        xs, ys = RATES[inside][::2], pixels.samples.overlap[inside][::2]
        chart = curves([("pro", xs, ys)], right=FPR_LIMIT, labels=("false-positive rate", "overlap"))
        yield _figure(chart, "PRO: mean share of each <i class='key pro'></i>defect that is found")
    good, bad, edges = likelihoods(test, scored, class_id)
    chart = histogram(good, bad, edges, label="log-likelihood, nats per dimension")
    where = "inside of defects" if test.has_truth[test.of_class(class_id)].any() else "of defective images"
    yield _figure(
        chart,
        "Latent view: log-likelihood at positions of <i class='key good'></i>good images and "
        f"<i class='key bad'></i>{where}, mean over levels",
    )


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{caption}</figcaption></figure>"


def _scores(evaluated: Evaluated, class_id: int) -> str:
    """Histogram of image scores; what is far out is counted in the last bin."""
    indices = np.array(evaluated.test.of_class(class_id), int)
    scores, bad = evaluated.scored.image[indices], evaluated.test.anomalous[indices]
    low, high = np.quantile(scores, [0, 0.98])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    clipped = np.minimum(scores, edges[-1])
    good, defective = (np.histogram(clipped[kind], edges)[0] for kind in (~bad, bad))
    decision = evaluated.decided.decision
    line = (decision.thresholds[class_id].value, "threshold") if decision else None
    taus = evaluated.results["classes"][evaluated.test.classes[class_id]].get("f1_max_thresholds", {})
    if taus.get("image") is not None:  # where figures are published ones, and no image is decided on
        line = (taus["image"], "τ of F1-max")
    return histogram(good, defective, edges, label="score", line=line)


def _image_roc(test: EvalSet, scored: Scored, class_id: int) -> np.ndarray | None:
    """Recall at `RATES`; None with one kind of image only."""
    indices = np.array(test.of_class(class_id), int)
    bad = test.anomalous[indices]
    if bad.all() or not bad.any():
        return None
    points = points_of(bad, scored.image[indices])
    totals = Points(*(p.sum() for p in points))
    samples = CurveSamples(RATES, totals)
    samples.add(*CurveSums(totals).add(points))
    return samples.recall


def likelihoods(test: EvalSet, scored: Scored, class_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts of log-likelihoods at positions of good images and of defects, and the edges of the bins.

    A position belongs to a defect if the pixel at its centre does; where a class has no masks, all positions
    of its defective images count; where only some of these have one, the positions of those. The lowest and
    highest 0.5 % of all are in the outermost bins.
    """
    indices = test.of_class(class_id)
    sample = np.concatenate([scored.likelihood.read(i, i + 1).ravel() for i in _some(indices)])
    low, high = np.quantile(sample, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    good, bad = np.zeros((2, _BINS), int)
    masks = test.has_truth[indices].any()
    for i in indices:
        values = np.clip(scored.likelihood.read(i, i + 1)[0], edges[0], edges[-1])
        if not test.anomalous[i]:
            good += np.histogram(values, edges)[0]
            continue
        if masks and not test.has_truth[i]:
            continue
        if masks:
            values = values[at_positions(test.mask(i), test.mapped, values.shape[-1])]
        bad += np.histogram(values, edges)[0]
    return good, bad, edges


def at_positions(mask: np.ndarray, transform: Transform, side: int) -> np.ndarray:
    """A mask `[W, W]` at the centres of the positions of feature maps: `[tiles, side, side]`."""
    centres = ((np.arange(side) + 0.5) * transform.size / side).astype(int)
    return np.stack([mask[box.slices][np.ix_(centres, centres)] for box in tile_boxes(transform)])


def _some(indices: range, most: int = 200) -> range:
    return indices[:: -(-len(indices) // most)]
