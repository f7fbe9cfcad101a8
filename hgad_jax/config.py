"""Checks of a config's values, before anything long starts."""

from typing import Any

from hgad_jax.data.clusters import num_clusters
from hgad_jax.data.geometry import INTERPOLATIONS, RESIZES
from hgad_jax.detectors import DETECTORS
from hgad_jax.errors import UserError
from hgad_jax.scoring.combination import COMBINATIONS
from hgad_jax.scoring.decision import manual_value

_CHOICES = {
    "data.on_error": ("raise", "skip"),
    "data.resize": RESIZES,
    "data.interpolation": INTERPOLATIONS,
    "backbone.dtype": ("float32", "bfloat16"),
    "cache.dtype": ("float32", "bfloat16"),
    "detector.name": tuple(DETECTORS),
    "detector.conditioning": ("none", "standardize", "whiten"),
    "scoring.protocol": ("calibrated", "paper"),
    "scoring.classes": ("inferred", "mixture", "given"),
    "scoring.image_map": tuple(COMBINATIONS),
    "scoring.pixel_map": tuple(COMBINATIONS),
    "calibration.threshold_per": ("class", "model"),
}
_AT_LEAST = {
    "seed": 0,
    "data.image_size": 32,
    "data.workers": 0,
    "data.rotation": 0,
    "data.tiles": 1,
    "data.tile_overlap": 0.05,
    "detector.num_blocks": 1,
    "detector.condition_channels": 4,
    "detector.num_centres": 1,
    "detector.shrinkage": 0,
    "detector.regions": 0,
    "train.batch_size": 1,
    "train.micro_batches": 1,
    "train.epochs": 0,
    "train.learning_rate": 0,
    "train.log_every": 1,
    "train.checkpoint_every": 1,
    "train.keep_checkpoints": 1,
    "calibration.fraction": 0,
    "calibration.min_images": 2,
    "calibration.false_alarm_rate": 1e-9,
    "calibration.pixel_rate": 0,
    "scoring.ordinary_fraction": 0,
    "scoring.top_fraction": 0,
    "scoring.sigma": 0,
    "scoring.batch_size": 1,
}
_AT_MOST = {
    "data.tile_overlap": 0.5,
    "calibration.fraction": 0.5,
    "calibration.false_alarm_rate": 0.5,
    "calibration.pixel_rate": 0.5,
    "scoring.ordinary_fraction": 1,
    "scoring.top_fraction": 1,
    "detector.label_smoothing": 1,
}


def validate(config: Any, num_devices: int) -> None:
    """Checks ranges and choices.

    Raises:
      UserError: with every value that is wrong, what it is and what was expected.
    """
    problems = [
        f"{key} is {_get(config, key)!r}, expected one of {', '.join(map(repr, choices))}"
        for key, choices in _CHOICES.items()
        if _get(config, key) not in choices
    ]
    problems += [
        f"{key} is {_get(config, key)}, expected at least {least}"
        for key, least in _AT_LEAST.items()
        if not _get(config, key) >= least  # so that NaN is refused too
    ]
    problems += [
        f"{key} is {_get(config, key)}, expected at most {most}"
        for key, most in _AT_MOST.items()
        if not _get(config, key) <= most
    ]
    try:
        manual_value(config.scoring.threshold)
    except UserError:
        problems.append(
            f"scoring.threshold is {config.scoring.threshold!r}, expected 'conformal' or a finite number"
        )
    if config.detector.condition_channels % 4:
        problems.append(
            f"detector.condition_channels is {config.detector.condition_channels}, expected a multiple of 4"
        )
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


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config
