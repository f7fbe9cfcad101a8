"""A trained model from its folder, ready to score images."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax.backbones.levels import Levels
from hgad_jax.data.geometry import Transform, transform_of, visible_boxes
from hgad_jax.detectors import Evidence
from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints, choice, provenance, workdir
from hgad_jax.runs.mesh import data_mesh, per_image, replicate
from hgad_jax.runs.model import (
    Model,
    abstract_model,
    abstract_model_calibration,
    build_model,
    map_sizes,
    score_function,
)
from hgad_jax.runs.pseudo_classes import regrouped
from hgad_jax.scoring.calibration import Calibration, GoodScores
from hgad_jax.scoring.constants import of_classes
from hgad_jax.scoring.decision import NO_THRESHOLDS, Decision, Setting, choose, decide
from hgad_jax.scoring.evidence import names_of
from hgad_jax.scoring.published import PublishedScore
from hgad_jax.scoring.scored import Scored, Scores

__all__ = ["Scorer", "Scores", "evidence_of", "load_scorer", "with_mode"]


class ByGoodImages(NamedTuple):
    """What held-out good images give a model; see `Scorer` for what each is."""

    calibration: Calibration
    decision: Decision
    given: Decision
    calibrated: Callable


class Scorer(NamedTuple):
    """A model restored from a checkpoint.

    With tiles, what is `[B·n², ...]` below holds all n² tiles of one image after the other.

    Attributes:
      config: of the run.
      classes: names; a class's position is its id.
      step: of the checkpoint.
      transform: that brings an image to what the model sees.
      mode: where images' classes come from: "inferred", "mixture" or "given".
      by_good_images: the four below; None of a run that trained on all good images, of which there is only
        what the published protocol needs.
      decision: what decides on scores, for each class that an image may be scored as.
      given: the same for an image whose class is given, whatever the mode.
      calibration: what thresholds were taken from.
      calibrated: (`Evidence`, boxes `[B, 4]` or None) → `Scores` of B images; jitted. Boxes say where images
        lie in the working square (`geometry.visible_boxes`); None: everywhere.
      good_names: of the held-out good images, as `GoodScores.number` counts them; () of older runs.
      evidence: (uint8 images `[B·n², S, S, 3]`, class ids `[B·n²]` or None) → `Evidence`; jitted. Class ids
        are those of images whose class is given: their likelihood is under that class in every mode.
      features_evidence: (features per level `[B·n², h, w, C]`, class ids or None) → `Evidence`; jitted.
      levels: the backbone: uint8 images → features.
      published: how the detector's paper scores images.
      evidence_names: what the pieces of evidence are whose scores `Scores.pieces` has.
      model: what it is built of.
      weights: of the backbone, the detector's parameters and its constants: what `evidence_of` takes first.
      latents: (uint8 images, class ids) → standardised latents per level `[B·n², h, w, C]`; jitted. None for
        detectors without a normal base distribution.
      regrouped: Dataset → Dataset with the run's pseudo-classes, if it made any.
    """

    config: Any
    classes: tuple[str, ...]
    step: int
    transform: Transform
    mode: str
    by_good_images: ByGoodImages | None
    good_names: tuple[str, ...]
    evidence: Callable
    features_evidence: Callable
    levels: Levels
    regrouped: Callable
    published: PublishedScore
    evidence_names: tuple[str, ...]
    model: Model
    weights: tuple[Any, Any, Any]
    latents: Callable | None

    @property
    def decision(self) -> Decision:
        """See above."""
        return self._by_good_images().decision

    @property
    def given(self) -> Decision:
        """See above."""
        return self._by_good_images().given

    @property
    def calibration(self) -> Calibration:
        """See above."""
        return self._by_good_images().calibration

    @property
    def calibrated(self) -> Callable:
        """See above."""
        return self._by_good_images().calibrated

    def _by_good_images(self) -> ByGoodImages:
        if self.by_good_images is None:
            raise UserError(NO_THRESHOLDS)
        return self.by_good_images

    def scored(self, images: np.ndarray, class_ids: np.ndarray | None, boxes: np.ndarray | None) -> Scored:
        """Evidence and scores of B images; the arguments are those of `evidence` and `calibrated`."""
        evidence = self.evidence(images, class_ids)
        return Scored(self.calibrated(evidence, boxes), evidence.class_ids, evidence.class_log_prob)

    def boxes(self, sizes: Iterable[tuple[int, int]]) -> np.ndarray:
        """`visible_boxes` of images of these heights and widths."""
        return visible_boxes(self.transform, sizes)


def load_scorer(
    directory: str | Path,
    *,
    classes: str | None = None,
    threshold: Setting = None,
    false_alarm_rate: Setting = None,
    decides: bool = True,
) -> Scorer:
    """Restores the newest checkpoint of a run.

    Args:
      directory: of the run.
      classes: "inferred", "mixture" or "given"; None for the config's. Thresholds are those for it.
      threshold: of image scores: "tail", "conformal" or a number, for some classes as "CLASS=VALUE" or in a
        mapping; None for the config's.
      false_alarm_rate: that "tail" and "conformal" thresholds are set for, likewise; None for the config's.
      decides: whether images are decided on; else a run does as well that held no good images out.

    Raises:
      UserError: no run, no checkpoint, or one that cannot be read; a rate for a threshold that has none, or a
        class that the model does not know; no thresholds.
    """
    directory = workdir.local_path(directory)
    config = workdir.load_config(directory)
    choice.apply(config, directory)
    choose(config, threshold=threshold, false_alarm_rate=false_alarm_rate)
    names, step, model, restored, good_names = _restored(directory, config)
    weights = model.levels.variables, restored["params"], restored["constants"]
    mode, transform = classes or config.scoring.classes, transform_of(config.data)
    if decides and "calibration" not in restored:
        raise UserError(f"{directory}: {NO_THRESHOLDS}")
    from_images, from_features = _evidence(model, weights, mode, transform)
    return Scorer(
        config,
        names,
        step,
        transform,
        mode,
        _by_good_images(config, transform, restored.get("calibration"), mode, names),
        good_names=good_names,
        evidence=from_images,
        features_evidence=from_features,
        levels=model.levels,
        regrouped=lambda dataset: regrouped(config, dataset, model.levels, directory),
        published=model.detector.published,
        evidence_names=names_of(config.scoring, model.levels.names, len(map_sizes(model))),
        model=model,
        weights=weights,
        latents=_latents(model, restored),
    )


def _by_good_images(
    config: Any, transform: Transform, calibration: Calibration | None, mode: str, names: tuple[str, ...]
) -> ByGoodImages | None:
    if calibration is None:
        return None
    decision = decide(calibration, config, mode, names)
    given = decision if mode == "given" else decide(calibration, config, "given", names)
    return ByGoodImages(calibration, decision, given, _calibrated(config, transform, calibration))


_Restored = tuple[tuple[str, ...], int, Model, dict[str, Any], tuple[str, ...]]


def with_mode(scorer: Scorer, mode: str) -> Scorer:
    """The same model with images' classes from elsewhere, and the thresholds for that."""
    decision = decide(scorer.calibration, scorer.config, mode, scorer.classes)
    from_images, from_features = _evidence(scorer.model, scorer.weights, mode, scorer.transform)
    return scorer._replace(
        mode=mode,
        by_good_images=scorer._by_good_images()._replace(decision=decision),
        evidence=from_images,
        features_evidence=from_features,
    )


def _restored(directory: Path, config: Any) -> _Restored:
    """The newest checkpoint; if training goes on and removes it meanwhile, the one that is newest then."""
    build = functools.cache(lambda num_classes: build_model(config, num_classes))  # once, since it takes long
    if not (directory / "checkpoints").is_dir():
        raise UserError(f"{directory} holds no checkpoint yet: train.py has not got so far.")
    with checkpoints.open_manager(directory, read_only=True) as manager:
        restored = checkpoints.read_newest(manager, lambda step: _restored_at(manager, step, config, build))
        if restored is None:
            raise UserError(f"{directory}/checkpoints holds no checkpoint yet: train.py has not got so far.")
        return restored


def _restored_at(manager, step: int, config: Any, build: Callable[[int], Model]) -> _Restored:
    metadata = checkpoints.read_metadata(manager, step)
    provenance.check_same_model(f"{manager.directory}/{step}", metadata, config)
    names = tuple(metadata["classes"])
    model = build(len(names))
    provenance.check_same_weights(f"{manager.directory}/{step}", metadata, model.levels.backbone_hash)
    abstract = abstract_model(model)
    good_names = tuple(metadata.get("calibration_names", ()))
    held_out = metadata["calibration_images"]
    if held_out:
        abstract["calibration"] = abstract_model_calibration(config, model, held_out, named=bool(good_names))
    restored = replicate(data_mesh(), checkpoints.restore(manager, step, abstract))
    if held_out:
        scores = {mode: GoodScores(*found) for mode, found in restored["calibration"].scores.items()}
        restored["calibration"] = restored["calibration"]._replace(scores=scores)
    return names, step, model, restored, good_names


def evidence_of(model: Model, mode: str, transform: Transform) -> Callable:
    """Pure (weights, uint8 images, class ids or None) → `Evidence`, of a mode (see `Scorer`)."""
    look = _look(model, mode, transform)

    def look_at_images(variables, params, constants, images, class_ids) -> Evidence:
        return look(params, constants, model.levels.apply(variables, images), class_ids)

    return look_at_images


def _look(model: Model, mode: str, transform: Transform) -> Callable:
    def look(params, constants, features, class_ids) -> Evidence:
        mix_classes = mode == "mixture" and class_ids is None
        if class_ids is None and transform.tiles > 1 and model.num_classes > 1:
            class_ids = _class_of_image(model, params, constants, features, transform.num_tiles)
        return model.detector.evidence(params, constants, features, class_ids, mix_classes=mix_classes)

    return look


def _evidence(
    model: Model, weights: tuple[Any, Any, Any], mode: str, transform: Transform
) -> tuple[Callable, Callable]:
    # Weights are arguments: as constants of the program they would be compiled into it.
    look_at_images, look = evidence_of(model, mode, transform), _look(model, mode, transform)
    of_images = per_image(look_at_images, replicated=3, together=transform.num_tiles)
    of_features = per_image(look, replicated=2, together=transform.num_tiles)

    def from_images(images, class_ids=None) -> Evidence:
        return of_images(*weights, images, class_ids)

    def from_features(features, class_ids=None) -> Evidence:
        return of_features(*weights[1:], tuple(features), class_ids)

    return from_images, from_features


def _latents(model: Model, restored: dict[str, Any]) -> Callable | None:
    latents = model.detector.latents
    if latents is None:
        return None

    def look_at_images(variables, params, constants, images, class_ids):
        own = model.levels.apply(variables, images)[model.levels.coarse]  # a bank has no latents
        return latents(params, constants, own, class_ids)

    of_images = per_image(look_at_images, replicated=3)
    return lambda images, class_ids: of_images(
        model.levels.variables, restored["params"], restored["constants"], images, class_ids
    )


def _class_of_image(model, params, constants, features, tiles: int) -> jax.Array:
    """The class that the tiles of an image agree on, for each tile."""
    # Where the first layer tells the class, XLA leaves out the flow, whose results are not used here.
    log_prob = model.detector.evidence(params, constants, features).class_log_prob
    of_images = log_prob.reshape(-1, tiles, log_prob.shape[-1]).sum(1)
    return jnp.repeat(jnp.argmax(of_images, -1), tiles).astype(jnp.int32)


def _calibrated(config: Any, transform: Transform, calibration: Calibration) -> Callable:
    scores = score_function(config)
    take = jax.jit(of_classes)

    def calibrated(evidence: Evidence, boxes: np.ndarray | None = None) -> Scores:
        side = transform.working_size
        whole = [(0, 0, side, side)] * (len(evidence.class_ids) // transform.num_tiles)
        constants = take(calibration.constants, evidence.class_ids)
        placed = jnp.asarray(whole if boxes is None else boxes, jnp.int32)
        return scores(evidence.log_likelihood, evidence.negative_entropy, constants, placed)

    return calibrated
