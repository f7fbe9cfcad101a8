"""τ: the thresholds of images and of pixels with the highest F1 on the test set, to draw figures with.

They are chosen on the labels that they are measured by, so that nothing is decided with them.
"""

from typing import Any

import numpy as np
from scipy import ndimage

from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet

_BINS = 1 << 16  # of pixels' scores, from the lowest to the highest of the class
_RADIUS = 4  # pixels, of the disk that masks are opened with


def thresholds(test: EvalSet, scored: Scored) -> dict[str, dict[str, float | None]]:
    """Per class `{"image": τ, "pixel": τ}`: what scores at least τ is positive; None where there is no F1."""
    return {
        name: {"image": _of_images(test, scored, k), "pixel": _of_pixels(test, scored, k)}
        for k, name in enumerate(test.classes)
        if test.of_class(k)
    }


def found_mask(scores: np.ndarray, tau: float) -> np.ndarray:
    """What a map `[S, S]` finds, opened with a disk as CFLOW-AD's figures have it: bool `[S, S]`."""
    span = np.arange(-_RADIUS, _RADIUS + 1)
    disk = span[:, None] ** 2 + span**2 <= _RADIUS**2
    return np.asarray(ndimage.binary_opening(scores >= tau, disk))


def _of_images(test: EvalSet, scored: Scored, class_id: int) -> float | None:
    indices = np.array(test.of_class(class_id), int)
    bad, scores = test.anomalous[indices], scored.image[indices]
    values, places = np.unique(scores, return_inverse=True)
    counts = [np.bincount(places[kind], minlength=len(values)) for kind in (~bad, bad)]
    best = _best(*counts)
    return None if best is None else float(values[best])


def _of_pixels(test: EvalSet, scored: Scored, class_id: int) -> float | None:
    """By counts in bins: τ is the lower edge of one, a 65,536th of the span of scores below the exact one."""
    indices = [i for i in test.of_class(class_id) if test.has_truth[i]]
    if not indices:
        return None
    extremes = [(m.min(), m.max()) for m in (scored.maps.read(i, i + 1)[0] for i in indices)]
    edges = np.linspace(float(np.min(extremes)), float(np.max(extremes)), _BINS + 1)
    counts = np.zeros((2, _BINS), int)
    for i in indices:
        scores, mask = scored.maps.read(i, i + 1)[0], test.mask(i)
        for kind, chosen in enumerate((~mask, mask)):
            places = np.searchsorted(edges, scores[chosen], side="right") - 1
            counts[kind] += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)
    best = _best(*counts)
    return None if best is None else float(edges[best])


def _best(good: np.ndarray, bad: np.ndarray) -> int | None:
    """From which value on F1 is highest, of counts at ascending values; None with one kind only."""
    if not good.any() or not bad.any():
        return None
    found = bad[::-1].cumsum()[::-1]
    called = found + good[::-1].cumsum()[::-1]
    f1 = np.where(good + bad, 2 * found / (called + bad.sum()), 0.0)  # at values that there are
    return int(np.argmax(f1))


def with_thresholds(classes: dict[str, dict[str, Any]], test: EvalSet, scored: Scored) -> None:
    """Adds τ to the figures of each class, under `f1_max_thresholds`."""
    for name, taus in thresholds(test, scored).items():
        classes[name]["f1_max_thresholds"] = taus
