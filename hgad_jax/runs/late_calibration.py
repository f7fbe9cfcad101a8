"""Calibration of a checkpoint that was saved while training went on: the last one alone has its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hgad_jax.errors import UserError
from hgad_jax.runs import images as run_images
from hgad_jax.runs import near_duplicates, provenance, pseudo_classes, workdir
from hgad_jax.runs.calibrate import calibrated, make_calibrate
from hgad_jax.runs.model import Model, cache_directory, cached_features, load_usable
from hgad_jax.runs.training_set import provenance_of, training_set
from hgad_jax.scoring.calibration import Calibration


def late_calibration(
    directory: Path,
    model: Model,
    metadata: dict[str, Any],
    params: Any,
    constants: Any,
    log: Callable[[str], None],
) -> Calibration:
    """The calibration that training would have saved with a checkpoint, had it ended there.

    Args:
      directory: of the run.
      model: its parts.
      metadata: of the checkpoint.
      params: its parameters.
      constants: its constants.
      log: gets lines for the user.

    Raises:
      UserError: the good images are not there any more, or are others.
    """
    config, step = workdir.load_config(directory), metadata["step"]
    place = f"{directory}/checkpoints/{step}"
    log(f"{place}: saved before training ended; its thresholds are found now, from the good images.")
    try:
        dataset = load_usable(config, directory, log)
        images = run_images.run_images(config, dataset, directory)
        contents = run_images.digests(images)
        provenance.check_same_run(
            place,
            metadata,
            config,
            weights=model.levels.backbone_hash,
            contents=contents,
            changes=lambda then: run_images.changes(directory, then, images),
        )
        cache = cached_features(config, model.levels, dataset.train, cache_directory(config, directory), log)
        dataset = pseudo_classes.grouped(config, dataset, cache, directory, log)
        groups = near_duplicates.groups(config, dataset, cache, contents, directory, lambda line: None)
        data = training_set(config, dataset, cache, groups)
        now = provenance_of(config, model, dataset.classes, data, contents, step)
        provenance.check_same_split(place, metadata, now)
    except UserError as error:
        raise UserError(
            f"{place} has no thresholds yet, since it was saved before training ended, and they cannot be "
            f"found now: {error}\nOr train to the end: the last checkpoint has them."
        ) from error
    found = calibrated(make_calibrate(config, model), params, constants, data)
    if not all(np.isfinite(array).all() for array in jax.tree.leaves(jax.device_get(found))):
        raise UserError(
            f"{place}: scores of good images are not finite. Go on training, or train anew with a lower "
            "--config.train.learning_rate."
        )
    return found
