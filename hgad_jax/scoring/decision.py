"""What a calibration decides with: thresholds of images and pixels, and of what is no known class."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hgad_jax.errors import UserError
from hgad_jax.scoring.calibration import Calibration, GoodScores, pixel_threshold, typical_pixel
from hgad_jax.scoring.classes import strangeness_limit
from hgad_jax.scoring.good import Good, fitted
from hgad_jax.scoring.per_class import parse, rate_of, rates, refuse_unknown_classes
from hgad_jax.scoring.tail import tail_threshold
from hgad_jax.scoring.threshold import Threshold, conformal_threshold, describe, fixed_threshold

CONFORMAL, TAIL = "conformal", "tail"
KINDS = (TAIL, CONFORMAL)
IMAGE, PIXELS = "image", "pixels"
PIXEL_KINDS = (IMAGE, PIXELS)
NO_THRESHOLDS = (
    "All good images were trained on (config.calibration.fraction=0, as papers do): none is left to take "
    "thresholds from, and single images are not decided on. 'hgad-jax eval' measures by the published "
    "protocol; for decisions train with --config.calibration.fraction=0.15."
)
_RATE, _THRESHOLD = "The false-alarm rate", "The threshold"


Setting = str | float | Mapping[str, Any] | None  # for all classes or some, see `per_class.parse`


class Decision(NamedTuple):
    """Per class, by the class that an image is scored as."""

    thresholds: tuple[Threshold, ...]  # of image scores
    pixel_thresholds: tuple[Threshold, ...]  # of pixel scores
    strangeness_limits: np.ndarray  # [K]; above, the image is of no known class
    rates: tuple[float, ...]  # of false alarms, that were asked for
    good: tuple[Good, ...]  # scores of good images, for p-values
    strange: tuple[Good, ...]  # and their strangeness
    unknown: str  # "reject" or "warn": whether an image of no known class is anomalous


def decide(calibration: Calibration, config: Any, mode: str, classes: Sequence[str]) -> Decision:
    """Thresholds from the stored scores of held-out good images.

    Args:
      calibration: of the run.
      config: its sections `calibration` and `scoring` are read.
      mode: where the class of an image comes from: "given", "inferred" or "mixture".
      classes: names.

    Raises:
      UserError: the run was not calibrated for this mode, or a threshold or rate is none, or of no class.
    """
    if mode not in calibration.scores:
        raise UserError(
            f"This run was not calibrated for classes '{mode}', only for {', '.join(calibration.scores)}. "
            f"Train with --config.scoring.classes={mode}."
        )
    scores = calibration.scores[mode]
    asked = rates(config.calibration.class_rates, classes, config.calibration.false_alarm_rate)
    wanted = _wanted(config.scoring.threshold, classes)
    pooled = config.calibration.threshold_per == "model"
    good = _of_classes(scores, scores.image, len(classes), pooled)
    thresholds = tuple(map(_threshold, good, asked, wanted))
    if config.calibration.pixel_threshold == IMAGE:
        highest = _of_classes(scores, scores.pixels[:, -1], len(classes), pooled)
        per_pixel = tuple(
            _threshold(of_class, rate, kind if isinstance(kind, str) else TAIL)._replace(
                typical=typical_pixel(scores, None if pooled else k)
            )
            for k, (of_class, rate, kind) in enumerate(zip(highest, asked, wanted, strict=True))
        )
    else:
        per_pixel = tuple(
            pixel_threshold(scores, None if pooled else k, config.calibration.pixel_rate)
            for k in range(len(classes))
        )
    strange = _of_classes(scores, scores.strangeness, len(classes), pooled=False)
    limits = np.array([strangeness_limit(each.scores) for each in strange])
    return Decision(thresholds, per_pixel, limits, asked, good, strange, config.scoring.unknown)


def threshold_of(decision: Decision, class_id: int, rate: float) -> Threshold:
    """The threshold of a class at another rate; of one set by hand, by the tail."""
    kind = decision.thresholds[class_id].kind
    return _threshold(decision.good[class_id], rate, kind if kind in KINDS else TAIL)


def _threshold(good: Good, rate: float, wanted: str | float) -> Threshold:
    if not isinstance(wanted, str):
        return fixed_threshold(good.scores, wanted, weights=good.weights)
    # Below the start of the tail there are images enough.
    if wanted == TAIL and good.tail is not None and rate < good.tail.above.mean():
        return tail_threshold(good.tail, rate, good.scores, good.weights, good.apart)
    return conformal_threshold(good.scores, rate, good.weights)


def _of_classes(scores: GoodScores, values, num_classes: int, pooled: bool) -> tuple[Good, ...]:
    """Values of the images scored as each class, with their tails.

    Every class has those of all if they are pooled, and one that no image was scored as in any case.
    """
    values, ids = np.asarray(values, np.float64), np.asarray(scores.class_ids)
    groups = np.asarray(scores.group) if len(scores.group) else np.arange(len(values))

    def of(chosen):
        _, inverse, counts = np.unique(groups[chosen], return_inverse=True, return_counts=True)
        return values[chosen], 1.0 / counts[inverse], np.asarray(chosen).nonzero()[0]

    everything = np.ones(len(values), bool)
    chosen = [ids == k for k in range(num_classes)]
    parts = [of(own if own.any() and not pooled else everything) for own in chosen]
    return fitted(parts)


def _wanted(threshold: Any, classes: Sequence[str]) -> list[str | float]:
    """The kind of each class's threshold, or the number that it is set to."""
    given = parse_threshold(threshold)
    refuse_unknown_classes(given, classes, name=_THRESHOLD)
    return [given.get(name, given.get("", TAIL)) for name in classes]


def parse_threshold(threshold: Any) -> Mapping[str, str | float]:
    """What `scoring.threshold` holds, class by class, and under "" for all others.

    Raises:
      UserError: neither a kind of threshold nor a finite number.
    """
    found: dict[str, str | float] = {}
    for name, text in parse(threshold, name=_THRESHOLD).items():
        found[name] = text if text in KINDS else _number(text)
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"The threshold is '{text}', expected {', '.join(map(repr, KINDS))} or a finite number, for one "
            "class as CLASS=VALUE."
        )
    return value


def is_promised(threshold: Any) -> bool:
    """Whether the threshold of any class is one that a rate of false alarms sets.

    Raises:
      UserError: it is no threshold.
    """
    given = parse_threshold(threshold)
    return "" not in given or any(isinstance(value, str) for value in given.values())


def choose(config: Any, *, threshold: Setting = None, false_alarm_rate: Setting = None) -> None:
    """Puts what is chosen when a model is used into the config of its run.

    Args:
      config: of the run, is changed.
      threshold: "tail", "conformal" or a number, of all classes or of some; None: as it is.
      false_alarm_rate: likewise.

    Raises:
      UserError: no threshold, no rate, or a rate for a threshold that has none.
    """
    if threshold is not None:
        parse_threshold(threshold)
        given = parse(threshold, name=_THRESHOLD)
        if "" not in given:  # of some classes: the others stay as they are
            given = parse(config.scoring.threshold, name=_THRESHOLD) | given
        config.scoring.threshold = ",".join(f"{k}={v}" if k else v for k, v in given.items())
    if false_alarm_rate is None:
        return
    if not is_promised(config.scoring.threshold):
        raise UserError(
            f"A false-alarm rate was given, but the threshold is set to {config.scoring.threshold}, whatever "
            "its rate. Leave the rate away, or ask for a threshold that has one: --threshold=tail."
        )
    given = {k: rate_of(v, name=_RATE) for k, v in parse(false_alarm_rate, name=_RATE).items()}
    if "" in given:  # of all classes, so that those of the config are of none
        config.calibration.false_alarm_rate, config.calibration.class_rates = given.pop(""), ()
    of_classes = [f"{name}={rate!r}" for name, rate in given.items()]
    config.calibration.class_rates = (*config.calibration.class_rates, *of_classes)


def describe_thresholds(classes: Sequence[str], decision: Decision) -> list[str]:
    """A line per class for the user; one line where all are the same."""
    thresholds, asked = decision.thresholds, decision.rates
    if len(classes) > 1 and len(set(thresholds)) == 1:
        return [f"threshold of all classes {describe(thresholds[0], asked[0])}"]
    return [
        f"threshold of {name} {describe(t, rate)}"
        for name, t, rate in zip(classes, thresholds, asked, strict=True)
    ]
