"""Decisions on new images, from Python: `Predictor.load("runs/mine")(image)`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from hgad_jax.artefact.served import Served, load_served
from hgad_jax.artefact.source import is_artefact
from hgad_jax.data.geometry import map_to_image
from hgad_jax.data.tiles import cut
from hgad_jax.data.transforms import ImageLike, load
from hgad_jax.errors import UserError
from hgad_jax.files import expanded
from hgad_jax.inference.finite import refuse_not_finite
from hgad_jax.inference.regions import Region, regions
from hgad_jax.scoring.classes import class_probability
from hgad_jax.scoring.decision import Decision, Setting
from hgad_jax.scoring.judged import Judged, judge
from hgad_jax.scoring.scored import Scores
from hgad_jax.scoring.threshold import Threshold

if TYPE_CHECKING:  # it needs all that training does, an artefact does not
    from hgad_jax.inference.scorer import Scorer


class Prediction(NamedTuple):
    """What is said of one image.

    Attributes:
      score: raw; how anomalous it is, the higher the more.
      normalized: the same from 0 to 1, 0.5 at the threshold.
      threshold: that the score is compared with.
      anomalous: the score is above the threshold, or the image is unknown and the run's config rejects these.
      p_value: share of good images with a score at least as high: of 0.007 it is higher than 99.3 % of them.
      class_name: the class that it was scored as, the nearest if it is unknown.
      class_probability: of that class, if it is one of the known ones.
      unknown: it is like none of the classes, whatever its score.
      unknown_p_value: share of good images at least as unlike their class.
      map: float32 `[height, width]` of the image, pixel scores; NaN where the transform cut it off.
      map_threshold: that pixel scores are compared with.
      regions: those above it, the largest first, in pixels of the image.
      evidence: what each piece of evidence says, in deviations from good images, the higher the more
        anomalous: by the layers and the input size it is of. Empty where scores are those of a map
        (`config.scoring.image_score`).
    """

    score: float
    normalized: float
    threshold: float
    anomalous: bool
    p_value: float
    class_name: str
    class_probability: float
    unknown: bool
    unknown_p_value: float
    map: np.ndarray
    map_threshold: float
    regions: tuple[Region, ...] = ()
    evidence: Mapping[str, float] = MappingProxyType({})


class Decided(NamedTuple):
    """A `Prediction` with its map still over the working square `[W, W]`, and its pixels' threshold."""

    prediction: Prediction
    pixel_threshold: Threshold


class Predictor(NamedTuple):
    """A trained model with the thresholds it decides by, for each class.

    Attributes:
      scorer: the model, of a run or of an artefact.
      decision: on images whose class comes from where the scorer's mode says; those whose class is named
        have their own, `scorer.given`.
    """

    scorer: "Scorer | Served"
    decision: Decision

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        classes: str | None = None,
        threshold: Setting = None,
        false_alarm_rate: Setting = None,
    ) -> "Predictor":
        """Restores the newest checkpoint of a run, or what `hgad-jax export` made of one.

        Args:
          directory: of the run, or of the artefact.
          classes: "inferred", "mixture" or "given"; None for the config's.
          threshold: "tail", "conformal" or a number; for some classes such as "screw=5.5", several with a
            comma between, or a mapping; None for the config's.
          false_alarm_rate: that "tail" and "conformal" thresholds are set for, likewise; None for the
            config's.

        Raises:
          UserError: no run, no checkpoint, or one that cannot be read; a rate for a threshold that has none.
        """
        settings = {"classes": classes, "threshold": threshold, "false_alarm_rate": false_alarm_rate}
        place = expanded(directory)
        if is_artefact(place):
            scorer = load_served(place, **settings)
            return cls(scorer, scorer.decision)
        from hgad_jax.inference.scorer import load_scorer

        scorer = load_scorer(directory, **settings)
        return cls(scorer, scorer.decision)

    def __call__(
        self, image: ImageLike, *, class_name: str | None = None, channels: str = "rgb"
    ) -> Prediction:
        """Scores one image.

        Args:
          image: a path, a file open for reading, a Pillow image, or an array `[H, W]`, `[H, W, 3]` or
            `[H, W, 4]`.
          class_name: of the image, where it is known; then all is as with `classes="given"`.
          channels: of an array: "rgb", or "bgr" as OpenCV's functions give them.

        Raises:
          UserError: the image cannot be read, or there is no such class or order of channels.
        """
        image = _as_rgb(image, channels)
        square, size, _ = load(image, self.scorer.transform)
        (decided,) = self.decide([square], [size], self.class_id(class_name))
        prediction = decided.prediction
        return prediction._replace(map=map_to_image(prediction.map, self.scorer.transform, size))

    def class_id(self, class_name: str | None) -> int | None:
        """Id of a class by name; None for None, unless the run is one whose classes are given.

        Raises:
          UserError: there is no such class, or one has to be named.
        """
        classes = self.scorer.classes
        if class_name is None and self.scorer.mode == "given":
            if len(classes) == 1:
                return 0
            raise UserError(f"The class of the images must be given: one of {', '.join(classes)}.")
        if class_name is not None and class_name not in classes:
            raise UserError(f"The model knows no class '{class_name}'; it knows {', '.join(classes)}.")
        return None if class_name is None else classes.index(class_name)

    def decide(
        self,
        squares: Sequence[np.ndarray],
        sizes: Sequence[tuple[int, int]],
        class_id: int | None = None,
        *,
        batch_size: int | None = None,
        names: Sequence[str] = (),
    ) -> list[Decided]:
        """Scores images that are decoded.

        Args:
          squares: uint8 `[W, W, 3]`, as `load_image` gives them.
          sizes: height and width of each image, pixels.
          class_id: of all of them; None if unknown.
          batch_size: images to fill up to, so that one program does for all batches.
          names: of the images, for messages.

        Raises:
          UserError: scores that are not finite.
        """
        scorer, count = self.scorer, len(squares)
        batch = [*squares, *[squares[-1]] * ((batch_size or count) - count)]
        if scorer.transform.tiles > 1:
            images = np.concatenate([cut(square, scorer.transform) for square in batch])
        else:
            images = np.stack(batch)
        ids = None if class_id is None else np.full(len(images), class_id, np.int32)
        boxes = scorer.boxes([*sizes, *[sizes[-1]] * (len(batch) - count)])
        scored = jax.device_get(scorer.scored(images, ids, boxes))
        scores = scored.scores
        names = names or [f"image {i + 1} of {count}" for i in range(count)]
        refuse_not_finite(names, scores.image[:count], scores.strangeness[:count], scores.maps[:count])
        tiles = scorer.transform.num_tiles
        class_ids = np.asarray(scored.class_ids)[::tiles]
        log_prob = np.asarray(scored.class_log_prob, np.float64)
        log_prob = log_prob.reshape(len(batch), tiles, -1).sum(1)
        probabilities = class_probability(log_prob, scorer.calibration.temperature)
        decision = scorer.given if class_id is not None and scorer.mode != "given" else self.decision
        judged = judge(decision, class_ids[:count], scores.image[:count], scores.strangeness[:count])
        return [
            self._decided(decision, judged, scores, i, int(class_ids[i]), probabilities[i], sizes[i])
            for i in range(count)
        ]

    def _decided(
        self,
        decision: Decision,
        judged: Judged,
        scores: Scores,
        i: int,
        class_id: int,
        probabilities: np.ndarray,
        size: tuple[int, int],
    ) -> Decided:
        scorer, pixels = self.scorer, decision.pixel_thresholds[class_id]
        values = np.asarray(scores.maps[i])
        min_area = scorer.config.scoring.min_area
        prediction = Prediction(
            score=float(scores.image[i]),
            normalized=float(judged.normalized[i]),
            threshold=decision.thresholds[class_id].value,
            anomalous=bool(judged.anomalous[i]),
            p_value=float(judged.p_value[i]),
            class_name=scorer.classes[class_id],
            class_probability=float(probabilities[class_id]),
            unknown=bool(judged.unknown[i]),
            unknown_p_value=float(judged.unknown_p_value[i]),
            map=values,
            map_threshold=pixels.value,
            regions=regions(values, pixels.value, scorer.transform, size, min_area=min_area),
            evidence=dict(zip(scorer.evidence_names, scores.pieces[i].tolist(), strict=True)),
        )
        return Decided(prediction, pixels)


def _as_rgb(image: ImageLike, channels: str) -> ImageLike:
    """An array with its channels in the order of RGB; anything else as it is."""
    if channels == "rgb":
        return image
    if channels != "bgr":
        raise UserError(f"channels is {channels!r}, expected 'rgb' or 'bgr'.")
    shape = getattr(image, "shape", None)
    if shape is None:
        raise UserError(
            "channels='bgr' is for arrays; of files and Pillow images the order of the channels is known."
        )
    if len(shape) != 3:
        return image  # grey
    order = [2, 1, 0, *range(3, shape[-1])]
    return np.asarray(image)[..., order] if shape[-1] >= 3 else image
