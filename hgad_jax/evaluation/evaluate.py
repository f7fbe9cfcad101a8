"""Scores a test split and compares with its labels."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from hgad_jax.data import Dataset, Record
from hgad_jax.data.geometry import Transform, transform_of
from hgad_jax.data.pipeline import image_batches
from hgad_jax.data.transforms import load_mask
from hgad_jax.errors import UserError
from hgad_jax.evaluation.scorer import Scorer, load_scorer
from hgad_jax.metrics.ranking import ranking_metrics
from hgad_jax.metrics.region import aupro
from hgad_jax.scoring import paper
from hgad_jax.training.setup import load_usable
from hgad_jax.training.workdir import write_atomically

_RANKING = ("auroc", "ap", "f1_max")
COLUMNS = (*(f"{level}_{name}" for level in ("image", "pixel") for name in _RANKING), "pixel_aupro")


class Result(NamedTuple):
    """What scoring a split gives, image by image."""

    image: np.ndarray  # [N]
    maps: np.ndarray  # [N, S, S]
    class_ids: np.ndarray  # [N], the class each was scored as


def evaluate(
    directory: str | Path,
    *,
    out: str | Path | None = None,
    split: str = "test",
    protocol: str | None = None,
    classes: str | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Evaluates a trained run and writes `results.json`.

    Args:
      directory: folder of the run.
      out: folder for `results.json`; the run's `eval` if None.
      split: of the dataset, `"test"`.
      protocol: `"calibrated"` or `"paper"`; None for the config's.
      classes: calibrated protocol: `"inferred"` or `"given"`; None for the config's.
      log: gets the table.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: something in folder or data that the user can mend.
    """
    scorer = load_scorer(directory, classes=classes)
    protocol = protocol or scorer.config.scoring.protocol
    # The published protocol knows the true class of every test image.
    classes = "given" if protocol == "paper" else classes or scorer.config.scoring.classes
    dataset = scorer.regrouped(load_usable(scorer.config, Path(directory), log))
    records = _records(dataset, split, scorer)
    labels = np.array([scorer.classes.index(r.class_name) for r in records], np.int32)
    score = _score_paper if protocol == "paper" else _score_calibrated
    result = score(scorer, records, labels if classes == "given" else None)
    metrics = {
        name: _class_metrics(scorer, records, result, labels == k) for k, name in enumerate(scorer.classes)
    }
    results = {
        "protocol": protocol,
        "class_of_test_images": classes,
        "dataset": dataset.name,
        "split": split,
        "step": scorer.step,
        "class_accuracy": None if classes == "given" else float(np.mean(result.class_ids == labels)),
        "classes": metrics,
        "mean": {column: _mean([m[column] for m in metrics.values()]) for column in COLUMNS},
    }
    log(format_table(results))
    out = Path(out or Path(directory) / "eval")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "results.json", json.dumps(results, indent=2) + "\n")
    log(f"Written to {out / 'results.json'}")
    return results


def _records(dataset: Dataset, split: str, scorer: Scorer) -> tuple[Record, ...]:
    if split not in ("train", "test"):
        raise UserError(f"--split={split} is not known, expected test or train.")
    records = dataset.test if split == "test" else dataset.train
    if not records:
        raise UserError(f"{dataset.name} has no images in its {split} split: nothing to evaluate.")
    unknown = sorted({r.class_name for r in records} - set(scorer.classes))
    if unknown:
        raise UserError(
            f"The model does not know the class(es) {', '.join(unknown)}; it was trained on "
            f"{', '.join(scorer.classes)}. The dataset has changed since: train anew."
        )
    return records


def _evidence(scorer: Scorer, records: Sequence[Record], class_ids: np.ndarray | None):
    """Yields the evidence on each batch and how many of its images are real, the rest being padding."""
    batches = image_batches(
        records,
        transform=transform_of(scorer.config.data),
        batch_size=scorer.config.scoring.batch_size,
        num_workers=scorer.config.data.workers,
    )
    with tqdm(total=len(records), desc="scoring", unit="image", dynamic_ncols=True) as bar:
        for batch in batches:
            ids = None if class_ids is None else class_ids[batch["index"]]
            count = int(batch["valid"].sum())
            yield scorer.evidence(batch["image"], ids), count
            bar.update(count)


def _score_calibrated(scorer: Scorer, records, class_ids) -> Result:
    parts = []
    for evidence, count in _evidence(scorer, records, class_ids):
        scores = jax.device_get(scorer.calibrated(evidence))
        parts.append((scores.image[:count], scores.maps[:count], np.asarray(evidence.class_ids)[:count]))
    return Result(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _score_paper(scorer: Scorer, records, class_ids) -> Result:
    parts = []
    for evidence, count in _evidence(scorer, records, class_ids):
        maps = jax.device_get((evidence.log_likelihood, evidence.negative_entropy))
        parts.append([[level[:count] for level in term] for term in maps])
    terms = [
        [np.concatenate(level) for level in zip(*(part[term] for part in parts), strict=True)]
        for term in (0, 1)
    ]
    size = scorer.config.data.image_size
    maps = np.empty((len(records), size, size), np.float32)
    for k in np.unique(class_ids):
        chosen = class_ids == k
        maps[chosen] = paper.anomaly_map(*([level[chosen] for level in term] for term in terms), size)
    return Result(maps.max((1, 2)), maps, class_ids)


def _class_metrics(scorer: Scorer, records, result: Result, chosen: np.ndarray) -> dict[str, Any]:
    """Metrics of one class; None for those that its labels or masks do not allow."""
    indices = np.flatnonzero(chosen)
    anomalous = np.array([records[i].anomalous for i in indices], bool)
    image = ranking_metrics(anomalous, result.image[indices]) or {}
    pixel, region = {}, None
    if any(records[i].mask for i in indices):
        transform = transform_of(scorer.config.data)
        masks = np.stack([_mask(records[i], transform) for i in indices])
        maps = result.maps[indices]
        pixel, region = ranking_metrics(masks, maps) or {}, aupro(masks, maps)
    values = {"images": len(indices), "anomalous": int(anomalous.sum())}
    for name in _RANKING:
        values |= {f"image_{name}": image.get(name), f"pixel_{name}": pixel.get(name)}
    return values | {"pixel_aupro": region}


def _mask(record: Record, transform: Transform) -> np.ndarray:
    if record.mask is None:
        return np.zeros((transform.working_size, transform.working_size), bool)
    return load_mask(record.mask, transform, image=record.path)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def format_table(results: dict[str, Any]) -> str:
    """The metrics per class and their mean as lines of text."""
    rows = [*results["classes"].items(), ("mean", results["mean"])]
    width = max(len(name) for name, _ in rows)
    columns = [c for c in COLUMNS if results["mean"][c] is not None]
    lines = [" ".join([" " * width, *(f"{c:>12}" for c in columns)])]
    for name, values in rows:
        cells = (f"{values[c]:12.4f}" if values[c] is not None else f"{'-':>12}" for c in columns)
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    known = f"class of test images {results['class_of_test_images']}"
    if results["class_accuracy"] is not None:
        known += f", right for {results['class_accuracy']:.1%}"
    return "\n".join([f"{results['dataset']}, protocol {results['protocol']}, {known}", *lines])
