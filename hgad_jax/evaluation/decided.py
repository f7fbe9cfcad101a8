"""What thresholds make of scores, and what the colours of heat maps are anchored to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.scoring.threshold import Threshold, normalized

_SAMPLE = 32  # images of a class that a colour scale is taken from, without thresholds
_PIXEL_RATE = 0.001  # share of their pixels that is above it


class Decided(NamedTuple):
    """Decisions on `N` images by the thresholds of the classes they were scored as."""

    thresholds: tuple[Threshold, ...] | None  # per class; None where scores have none
    called: np.ndarray | None  # called anomalous, as predict.py does, bool [N]
    unknown: np.ndarray  # called anomalous and like no known class, bool [N]
    level: np.ndarray  # the score, [N]; on the scale where the threshold is 0.5 if there is one


def decide(scored: Scored, thresholds: Sequence[Threshold], strangeness_limits: np.ndarray) -> Decided:
    """Compares each image's score, and its strangeness, with the limits of the class it was scored as."""
    level = np.zeros(len(scored.image))
    for k, threshold in enumerate(thresholds):
        own = scored.class_ids == k
        level[own] = normalized(scored.image[own], threshold)
    values = np.array([threshold.value for threshold in thresholds])
    called = scored.image > values[scored.class_ids]
    unknown = called & (scored.strangeness > np.asarray(strangeness_limits)[scored.class_ids])
    return Decided(tuple(thresholds), called, unknown, level)


def undecided(scored: Scored) -> Decided:
    """For scores that no threshold belongs to."""
    return Decided(None, None, np.zeros(len(scored.image), bool), scored.image)


def decision_counts(test: EvalSet, decided: Decided) -> dict[str, dict[str, Any]]:
    """Per class its threshold, good images called anomalous, defective ones not, and unknown ones."""
    if decided.thresholds is None or decided.called is None:
        return {}
    counts = {}
    for k, (name, threshold) in enumerate(zip(test.classes, decided.thresholds, strict=True)):
        called, bad = (array[test.labels == k] for array in (decided.called, test.anomalous))
        counts[name] = {
            "threshold": threshold.value,
            "false_alarms": int(np.sum(called & ~bad)),
            "misses": int(np.sum(~called & bad)),
            "unknown": int(np.sum(decided.unknown[test.labels == k])),
        }
    return counts


def scale_of_good(test: EvalSet, scored: Scored, class_id: int) -> Threshold:
    """What a class's heat maps are coloured by where scores have no threshold: to look at, not to decide.

    One in a thousand pixels of good test images is above it; of all test images, where none is good.
    """
    indices = list(test.of_class(class_id))
    chosen = [i for i in indices if not test.anomalous[i]] or indices
    if not chosen:
        return Threshold(1.0, _PIXEL_RATE, (0.0, 1.0), 0, "test images", 0.0)
    some = chosen[:: -(-len(chosen) // _SAMPLE)]
    pixels = np.stack([scored.maps.read(i, i + 1)[0, ::2, ::2] for i in some])
    typical, value = np.quantile(pixels, [0.5, 1 - _PIXEL_RATE])
    return Threshold(float(value), _PIXEL_RATE, (0.0, 1.0), len(some), "test images", float(typical))
