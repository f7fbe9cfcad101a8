"""Metrics of a scored test set: per class, their mean, and pooled."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.metrics.bootstrap import image_replicates, interval
from hgad_jax.metrics.pixel import ImagePixels
from hgad_jax.metrics.pixel_images import PIXEL, PixelResult, pixel_metrics
from hgad_jax.metrics.ranking import RANKING, ranking_metrics
from hgad_jax.progress_bar import progress_bar

COLUMNS = (*(f"image_{name}" for name in RANKING), *(f"pixel_{name}" for name in PIXEL))


class Measured(NamedTuple):
    """Metrics by name, and their `<name>_ci` intervals: None where labels or masks do not allow one."""

    classes: dict[str, dict[str, Any]]
    mean: dict[str, Any]  # over classes
    pooled: dict[str, Any]  # all images, or all pixels of classes with masks, as one set
    pixels: list[PixelResult | None]  # of each class and the pool


def measure(test: EvalSet, scored: Scored, directory: Path, *, replicates: int, seed: int = 0) -> Measured:
    """All metrics.

    Args:
      test: the images.
      scored: their scores.
      directory: where pixels are sorted.
      replicates: of the bootstrap; 0 for no intervals.
      seed: of the bootstrap.
    """
    pixels = pixel_metrics(
        lambda: _with_truth(test, scored), len(test.classes), directory, replicates=replicates, seed=seed
    )
    everything = [test.of_class(k) for k in range(len(test.classes))] + [range(len(test))]
    sets = [
        _values(test, scored, np.array(indices, int), pixel, replicates, np.random.default_rng([seed, k]))
        for k, (indices, pixel) in enumerate(zip(everything, pixels, strict=True))
    ]
    *classes, pooled = (values | _intervals(drawn) for values, drawn in sets)
    return Measured(dict(zip(test.classes, classes, strict=True)), _mean(sets[:-1]), pooled, pixels)


def _with_truth(test: EvalSet, scored: Scored) -> Iterator[ImagePixels]:
    for index in progress_bar(np.flatnonzero(test.has_truth), desc="pixels", unit="image"):
        seen = test.box(index).slices  # a letterbox's border is no image
        scores, mask = scored.maps.read(index, index + 1)[0][seen], test.mask(index)[seen]
        yield ImagePixels(int(test.labels[index]), bool(test.anomalous[index]), scores, mask)


def _values(
    test: EvalSet,
    scored: Scored,
    indices: np.ndarray,
    pixel: PixelResult | None,
    replicates: int,
    rng: np.random.Generator,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics of a set of images, and their replicates where there are any."""
    anomalous, scores = test.anomalous[indices], scored.image[indices]
    image = ranking_metrics(anomalous, scores) if len(indices) else None
    values = {"images": len(indices), "anomalous": int(anomalous.sum())}
    values |= {f"image_{name}": image and image[name] for name in RANKING}
    values |= {f"pixel_{name}": pixel and pixel.metrics[name] for name in PIXEL}
    drawn = {}
    if replicates and image:
        found = image_replicates(anomalous, scores, test.labels[indices], replicates, rng)
        drawn |= {f"image_{name}": values for name, values in found.items()}
    if replicates and pixel:
        drawn |= {f"pixel_{name}": values for name, values in pixel.replicates.items()}
    return values, drawn


def _intervals(drawn: dict[str, np.ndarray]) -> dict[str, list[float] | None]:
    return {f"{column}_ci": interval(drawn[column]) if column in drawn else None for column in COLUMNS}


def _mean(sets: Sequence[tuple[dict[str, Any], dict[str, np.ndarray]]]) -> dict[str, Any]:
    """The mean of each metric over the classes that have it, and its interval."""
    mean, drawn = {}, {}
    for column in COLUMNS:
        known = [values[column] for values, _ in sets if values[column] is not None]
        mean[column] = float(np.mean(known)) if known else None
        replicates = [d[column] for _, d in sets if column in d]
        if replicates:  # each class's images are drawn by themselves
            drawn[column] = np.mean(replicates, 0)
    return mean | _intervals(drawn)
