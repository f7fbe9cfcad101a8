"""A trained model from its folder, ready to score images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hgad_jax.detectors import Evidence
from hgad_jax.errors import UserError
from hgad_jax.scoring.calibration import Calibration, anomaly_map
from hgad_jax.scoring.maps import image_score
from hgad_jax.training import checkpoints, workdir
from hgad_jax.training.pseudo_classes import regrouped
from hgad_jax.training.setup import Model, abstract_model, build_model


class Scorer(NamedTuple):
    """A model restored from a checkpoint."""

    config: Any
    classes: tuple[str, ...]
    step: int
    evidence: Callable  # (uint8 images [B, S, S, 3], class ids [B] or None) → Evidence; jitted
    calibrated: Callable  # Evidence → Scores; jitted
    regrouped: Callable  # Dataset → Dataset with the run's pseudo-classes, if it made any


class Scores(NamedTuple):
    """Calibrated scores of a batch; each image's depend on that image alone."""

    image: jax.Array  # [B]
    maps: jax.Array  # [B, S, S]


def load_scorer(directory: str | Path) -> Scorer:
    """Restores the newest checkpoint of a run.

    Raises:
      UserError: no run, no checkpoint, or one that cannot be read.
    """
    directory = Path(directory)
    config = workdir.load_config(directory)
    if not (directory / "checkpoints").is_dir():
        raise UserError(f"{directory} holds no checkpoint yet: train.py has not got so far.")
    with checkpoints.open_manager(directory, read_only=True) as manager:
        step = checkpoints.latest_step(manager)
        if step is None:
            raise UserError(f"{directory}/checkpoints holds no checkpoint yet: train.py has not got so far.")
        classes = tuple(checkpoints.read_metadata(manager, step)["classes"])
        model = build_model(config, len(classes))
        restored = checkpoints.restore(manager, step, abstract_model(model))
    calibrated = _calibrated(config, restored["calibration"])
    return Scorer(
        config,
        classes,
        step,
        _evidence(model, restored),
        calibrated,
        regrouped=lambda dataset: regrouped(config, dataset, model.levels, directory),
    )


def _evidence(model: Model, restored: dict[str, Any]) -> Callable:
    @jax.jit
    def evidence(variables, params, constants, images, class_ids) -> Evidence:
        features = model.levels.apply(variables, images)
        return model.detector.evidence(params, constants, features, class_ids)

    def call(images, class_ids=None) -> Evidence:
        # Weights are arguments: as constants of the program they would be compiled into it.
        return evidence(
            model.levels.variables,
            restored["params"],
            restored["constants"],
            jnp.asarray(images),
            None if class_ids is None else jnp.asarray(class_ids),
        )

    return call


def _calibrated(config: Any, calibration: Calibration) -> Callable:
    scoring = config.scoring

    @jax.jit
    def scores(calibration, log_likelihood, class_ids) -> Scores:
        def maps(by):
            return anomaly_map(
                calibration,
                log_likelihood,
                class_ids,
                by=by,
                size=config.data.image_size,
                sigma=scoring.sigma,
            )

        for_image = maps(scoring.image_standardize)
        same = scoring.pixel_standardize == scoring.image_standardize
        for_pixels = for_image if same else maps(scoring.pixel_standardize)
        return Scores(image_score(for_image, scoring.top_fraction), for_pixels)

    return lambda evidence: scores(calibration, evidence.log_likelihood, evidence.class_ids)
