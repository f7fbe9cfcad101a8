"""An artefact at use: what `Predictor` needs to decide, as a run gives it, too."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import hgad_jax
from hgad_jax.artefact import programs, source, trees
from hgad_jax.data.geometry import Transform, transform_of, visible_boxes
from hgad_jax.errors import UserError
from hgad_jax.scoring.calibration import Calibration
from hgad_jax.scoring.decision import Decision, Setting, choose, decide
from hgad_jax.scoring.scored import Scored

MODEL = "model.json"  # what the model is: classes, settings, names of the weights in their order
WEIGHTS = "weights.safetensors"
CALIBRATION = "calibration.safetensors"
CARD = "MODEL_CARD.md"


class Section(dict):
    """A section of a config: its keys are attributes, as they are in a run's."""

    def __getattr__(self, key: str) -> Any:
        """The value of a key."""
        try:
            return self[key]
        except KeyError as error:
            raise AttributeError(key) from error

    def __setattr__(self, key: str, value: Any) -> None:
        """Sets a key."""
        self[key] = value


class Served(NamedTuple):
    """An artefact that scores images.

    Attributes:
      config: of its run.
      classes: names; a class's position is its id.
      step: of the checkpoint that it was exported from.
      transform: that brings an image to what the model sees.
      mode: where images' classes come from: "inferred", "mixture" or "given".
      decision: what it decides by.
      given: the same for an image whose class is given, whatever the mode.
      calibration: what thresholds are taken from.
      evidence_names: what the pieces of evidence are whose scores `Scores.pieces` has.
      of_mode: see `programs.scoring_function`.
    """

    config: Section
    classes: tuple[str, ...]
    step: int
    transform: Transform
    mode: str
    decision: Decision
    given: Decision
    calibration: Calibration
    evidence_names: tuple[str, ...]
    of_mode: Callable[[str, np.ndarray, np.ndarray | None, np.ndarray], Scored]

    def scored(self, images: np.ndarray, class_ids: np.ndarray | None, boxes: np.ndarray) -> Scored:
        """Scores of B images: uint8 `[B·n², S, S, 3]`, class ids `[B·n²]` or None, `boxes` of them."""
        return self.of_mode(self.mode, images, class_ids, boxes)

    def boxes(self, sizes: Iterable[tuple[int, int]]) -> np.ndarray:
        """`visible_boxes` of images of these heights and widths."""
        return visible_boxes(self.transform, sizes)


def load_served(
    path: Path,
    *,
    classes: str | None = None,
    threshold: Setting = None,
    false_alarm_rate: Setting = None,
) -> Served:
    """Reads an artefact, every file of it checked.

    Args:
      path: of its folder or zip file.
      classes: "inferred", "mixture" or "given"; None for the config's. Thresholds are those for it.
      threshold: of image scores, as `Predictor.load` takes it; None for the config's.
      false_alarm_rate: likewise.

    Raises:
      UserError: no artefact, a damaged one, one of a newer format or for other devices; or thresholds that
        it was not calibrated for.
    """
    files = source.contents(path, hgad_jax.__version__)
    model = json.loads(files[MODEL], object_hook=Section)
    programs.need_flatbuffers("pip install flatbuffers")
    programs.refuse_other_platform(model.platforms, str(path))
    calibration = trees.unpacked(model.calibration, trees.from_bytes(files[CALIBRATION]))
    weights, config = trees.from_bytes(files[WEIGHTS], model.weights), model.config
    try:
        names = tuple(model.classes)
        choose(config, threshold=threshold, false_alarm_rate=false_alarm_rate)
        mode, transform = classes or config.scoring.classes, transform_of(config.data)
        decision = decide(calibration, config, mode, names)
        given = decision if mode == "given" else decide(calibration, config, "given", names)
    except AttributeError as error:
        raise UserError(
            f"{path} was exported by hgad_jax {model.versions['hgad_jax']} and lacks a setting that hgad_jax "
            f"{hgad_jax.__version__} needs ({error}). Install that version, or export the run with this one."
        ) from error
    return Served(
        config,
        names,
        model.step,
        transform,
        mode,
        decision,
        given,
        calibration,
        tuple(model.evidence_names),
        programs.scoring_function(
            files,
            str(path),
            sizes=model.batch_sizes,
            tiles=transform.num_tiles,
            weights=list(weights.values()),
            constants=jax.tree.leaves(calibration.constants),
        ),
    )
