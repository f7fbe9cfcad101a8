"""Checks of a config's values, before anything long starts."""

from collections.abc import Iterable, Iterator
from typing import Any

from hgad_jax import detectors
from hgad_jax.data.clusters import num_clusters
from hgad_jax.data.geometry import INTERPOLATIONS, RESIZES
from hgad_jax.detectors import keys
from hgad_jax.errors import UserError
from hgad_jax.scoring.combination import COMBINATIONS
from hgad_jax.scoring.decision import manual_value

_CHOICES = {
    "data.on_error": ("raise", "skip"),
    "data.resize": RESIZES,
    "data.interpolation": INTERPOLATIONS,
    "backbone.dtype": ("float32", "bfloat16"),
    "cache.dtype": ("float32", "bfloat16"),
    "train.keep": ("best", "last"),
    "scoring.protocol": ("calibrated", "paper"),
    "scoring.classes": ("inferred", "mixture", "given"),
    "scoring.image_map": tuple(COMBINATIONS),
    "scoring.pixel_map": tuple(COMBINATIONS),
    "calibration.threshold_per": ("class", "model"),
} | keys.CHOICES
_AT_LEAST = {
    "seed": 0,
    "data.image_size": 32,
    "data.workers": 0,
    "data.rotation": 0,
    "data.tiles": 1,
    "data.tile_overlap": 0.05,
    "backbone.equalize": 0,
    "train.batch_size": 1,
    "train.micro_batches": 1,
    "train.positions": 0,
    "train.epochs": 0,
    "train.stage_two_epoch": 0,
    "train.warmup_epochs": 0,
    "train.hold_epochs": 0,
    "train.clip_norm": 0,
    "train.weight_decay": 0,
    "train.learning_rate": 0,
    "train.patience": 0,
    "train.log_every": 1,
    "train.checkpoint_every": 1,
    "train.keep_checkpoints": 1,
    "eval.every": 1e-3,
    "calibration.fraction": 0,
    "calibration.min_images": 2,
    "calibration.false_alarm_rate": 1e-9,
    "calibration.pixel_rate": 0,
    "scoring.ordinary_fraction": 0,
    "scoring.top_fraction": 0,
    "scoring.sigma": 0,
    "scoring.batch_size": 1,
} | keys.AT_LEAST
_AT_MOST = {
    "data.rotation": 180,
    "data.tile_overlap": 0.5,
    "calibration.fraction": 0.5,
    "calibration.false_alarm_rate": 0.5,
    "calibration.pixel_rate": 0.5,
    "scoring.ordinary_fraction": 1,
    "scoring.top_fraction": 1,
    # Schedules count steps, of which there is no infinite number.
    "train.epochs": 1e6,
    "train.stage_two_epoch": 1e6,
    "train.warmup_epochs": 1e6,
    "train.hold_epochs": 1e6,
    "train.patience": 1e6,
} | keys.AT_MOST


def validate(config: Any, num_devices: int) -> None:
    """Checks ranges and choices.

    Raises:
      UserError: with every value that is wrong, what it is and what was expected.
    """
    problems = [
        f"{key} is {value!r}, expected one of {', '.join(map(repr, _CHOICES[key]))}"
        for key, value in _present(config, _CHOICES)
        if value not in _CHOICES[key]
    ]
    problems += [
        f"{key} is {value}, expected at least {_AT_LEAST[key]}"
        for key, value in _present(config, _AT_LEAST)
        if not value >= _AT_LEAST[key]  # so that NaN is refused too
    ]
    problems += [
        f"{key} is {value}, expected at most {_AT_MOST[key]}"
        for key, value in _present(config, _AT_MOST)
        if not value <= _AT_MOST[key]
    ]
    try:
        manual_value(config.scoring.threshold)
    except UserError:
        problems.append(
            f"scoring.threshold is {config.scoring.threshold!r}, expected 'conformal' or a finite number"
        )
    problems += _detector_problems(config, num_devices)
    if config.train.patience and config.train.keep != "best":
        problems.append(
            f"train.patience is {config.train.patience}, expected 0 with train.keep={config.train.keep!r}: "
            "only train.keep='best' looks for a better state"
        )
    for key, numbers in (("backbone.mean", config.backbone.mean), ("backbone.std", config.backbone.std)):
        values = tuple(numbers)
        if values and not (len(values) == 3 and all(0 < v <= 1 for v in values)):
            problems.append(f"{key} is {values}, expected () or three numbers above 0 and up to 1")
    scales = tuple(config.backbone.scales)
    if not scales or any(scale < 1 or scale != int(scale) for scale in scales):
        problems.append(f"backbone.scales is {scales}, expected whole numbers from 1 on, such as (1, 2)")
    sides = tuple(config.backbone.neighbours)
    if any(side < 1 or side % 2 == 0 for side in sides):
        problems.append(f"backbone.neighbours is {sides}, expected odd numbers")
    window = tuple(config.eval.window)
    if window and not (len(window) == 2 and 0 <= window[0] <= window[1]):
        problems.append(f"eval.window is {window}, expected the first and the last epoch, such as (100, 300)")
    if window and (config.data.tiles > 1 or config.data.classes != "given"):
        problems.append("eval.window needs data.tiles=1 and data.classes='given'")
    if config.train.batch_size % num_devices:
        problems.append(
            f"train.batch_size is {config.train.batch_size}, expected a multiple of the "
            f"{num_devices} devices that it is split over"
        )
    try:
        num_clusters(config.data.classes)
    except UserError as error:
        problems.append(str(error).removeprefix("config."))
    if problems:
        raise UserError("\n".join(f"config.{problem}" for problem in problems))


def effective(config: dict[str, Any]) -> dict[str, Any]:
    """Of a config as JSON, what the run depends on: two that agree in it are of the same run.

    The keys of a detector's parts that it does not have are left out, and those given by default are filled
    in, so that a run of before there was a choice of parts goes on.
    """
    section = config.get("detector", {})
    if "name" not in section or detectors.problems(section, num_devices=1):
        return config
    detector = detectors.create(section, num_classes=1)
    turns, terms = detector.optimised.alternation, detector.terms
    sections = set(detectors.ALTERNATIONS) - {turns}
    return {name: values for name, values in config.items() if name not in sections} | {
        "detector": detectors.used_keys(section),
        "loss": {term: weight for term, weight in config.get("loss", {}).items() if term in terms},
    }


def _present(config: Any, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Keys and values; of the sections that depend on the detector, those keys that it has."""
    for key in keys:
        section, name = key.split(".") if "." in key else (None, key)
        values = config.get(section, {}) if section else config
        if section not in ("detector", *detectors.ALTERNATIONS) or name in values:
            yield key, values[name]


def _detector_problems(config: Any, num_devices: int) -> Iterator[str]:
    """What concerns the detector, and what it needs of other sections."""
    section, name = config.detector, config.detector.name
    found = detectors.problems(section, num_devices)
    yield from found
    if found:
        return
    detector = detectors.create(section, num_classes=1)
    if config.scoring.classes == "mixture" and not detector.mixes_classes:
        yield (
            f"scoring.classes is 'mixture', expected 'inferred' or 'given': {_made(section)} has no "
            "likelihood under a mixture of classes"
        )
    if detector.fitted and config.train.epochs:
        yield f"train.epochs is {config.train.epochs}, expected 0: {name} is fitted, not trained"
    for term, weight in config.loss.items():
        if weight and term not in detector.terms:
            yield (
                f"loss.{term} is {weight}, expected 0: {_made(section)} has no such term, only "
                f"{', '.join(detector.terms)}"
            )
    if detector.optimised.alternation and detector.optimised.alternation not in config:
        yield f"{detector.optimised.alternation} is missing, which says how {_made(section)} is trained"


def _made(section: Any) -> str:
    """What a detector is called in messages: by its name, and its base distribution if it has one."""
    base = detectors.used_keys(section).get("base")
    return f"{section.name} with detector.base={base!r}" if base else section.name
