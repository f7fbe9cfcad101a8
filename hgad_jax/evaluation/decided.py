"""What thresholds make of scores, and what the colours of heat maps are anchored to."""

from typing import Any, NamedTuple

import numpy as np

from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.judged import Judged, judge
from hgad_jax.scoring.promise import is_broken, share, surprise
from hgad_jax.scoring.threshold import Threshold

_SAMPLE = 32  # images of a class that a colour scale is taken from, without thresholds
_PIXEL_RATE = 0.001  # share of their pixels that is above it


class Decided(NamedTuple):
    """Decisions on `N` images by the thresholds of the classes they were scored as.

    Attributes:
      decision: of the model; None where scores have no thresholds.
      judged: what it makes of the scores, as `Predictor` does; None likewise.
      level: the score, `[N]`; on the scale where the threshold is 0.5 if there is one.
    """

    decision: Decision | None
    judged: Judged | None
    level: np.ndarray


def decide(scored: Scored, decision: Decision) -> Decided:
    """Compares each image's score, and its strangeness, with the limits of the class it was scored as."""
    assert scored.strangeness is not None  # of the calibrated protocol, whose scores thresholds belong to
    judged = judge(decision, scored.class_ids, scored.image, scored.strangeness)
    return Decided(decision, judged, judged.normalized)


def undecided(scored: Scored) -> Decided:
    """For scores that no threshold belongs to."""
    return Decided(None, None, scored.image)


def decision_counts(test: EvalSet, decided: Decided) -> dict[str, dict[str, Any]]:
    """Per class its threshold and promise, and what came of them.

    Good images called anomalous, defective ones that are not, and both kinds called unknown, each with its
    share and the share's 95 % interval; how improbable so many good images above the threshold are under the
    promise, and whether that is beyond chance, all classes being looked at.
    """
    decision, judged = decided.decision, decided.judged
    if decision is None or judged is None:
        return {}
    counts: dict[str, dict[str, Any]] = {}
    for k, (name, threshold) in enumerate(zip(test.classes, decision.thresholds, strict=True)):
        own = test.labels == k
        called, unknown, bad = judged.anomalous[own], judged.unknown[own], test.anomalous[own]
        good, defective = int(np.sum(~bad)), int(np.sum(bad))
        alarms, misses = int(np.sum(called & ~bad)), int(np.sum(~called & bad))
        above = int(np.sum(judged.above[own] & ~bad))
        counts[name] = {
            "threshold": threshold.value,
            "threshold_kind": threshold.kind,
            "promised": threshold.rate,
            "promised_ci": list(threshold.interval),
            "false_alarms": alarms,
            "misses": misses,
            "unknown": int(np.sum(unknown)),
            **_shares("false_alarm", alarms, good),
            **_shares("miss", misses, defective),
            **_shares("unknown_good", int(np.sum(unknown & ~bad)), good),
            **_shares("unknown_defective", int(np.sum(unknown & bad)), defective),
            "promise_p": surprise(threshold, decision.good[k], above, good),
        }
    tested = sum(values["promise_p"] is not None for values in counts.values())
    for values in counts.values():
        values["promise_broken"] = is_broken(values["promise_p"], tested)
    return counts


def _shares(name: str, count: int, total: int) -> dict[str, Any]:
    found = share(count, total)
    return {f"{name}_rate": found.rate, f"{name}_rate_ci": found.interval and list(found.interval)}


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
