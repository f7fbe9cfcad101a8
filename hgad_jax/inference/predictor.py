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
from hgad_jax.scoring.classes import class_probability
from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.threshold import Threshold, normalized

if TYPE_CHECKING:  # it needs all that training does, an artefact does not
    from hgad_jax.inference.scorer import Scorer

UNKNOWN = "unknown"  # the class of an image that is like none of the classes


class Prediction(NamedTuple):
    """What is said of one image.

    Attributes:
      score: raw; how anomalous it is, the higher the more.
      normalized: the same from 0 to 1, 0.5 at the threshold.
      threshold: that the score is compared with.
      anomalous: the score is above the threshold.
      class_name: the class that it was scored as; "unknown" if it is anomalous and unlike any class.
      class_probability: of that class, if it is one of the known ones.
      nearest_class: the class that it was scored as, also where it is unknown.
      map: float32 `[height, width]` of the image, pixel scores; NaN where the transform cut it off.
      map_threshold: that pixel scores are compared with.
      evidence: what each piece of evidence says, in deviations from good images, the higher the more
        anomalous: by the layers and the input size it is of. Empty where scores are those of a map
        (`config.scoring.image_score`).
    """

    score: float
    normalized: float
    threshold: float
    anomalous: bool
    class_name: str
    class_probability: float
    nearest_class: str
    map: np.ndarray
    map_threshold: float
    evidence: Mapping[str, float] = MappingProxyType({})


class Decided(NamedTuple):
    """A `Prediction` with its map still over the working square `[W, W]`, and its pixels' threshold."""

    prediction: Prediction
    pixel_threshold: Threshold


class Predictor(NamedTuple):
    """A trained model with the thresholds it decides by, for each class.

    Attributes:
      scorer: the model, of a run or of an artefact.
      thresholds: of images whose class comes from where the scorer's mode says; those whose class is named
        have their own, `scorer.given`.
    """

    scorer: "Scorer | Served"
    thresholds: tuple[Threshold, ...]

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        classes: str | None = None,
        threshold: str | float | None = None,
        false_alarm_rate: float | None = None,
    ) -> "Predictor":
        """Restores the newest checkpoint of a run, or what `hgad-jax export` made of one.

        Args:
          directory: of the run, or of the artefact.
          classes: "inferred", "mixture" or "given"; None for the config's.
          threshold: "conformal" or a number; None for the config's.
          false_alarm_rate: that conformal thresholds are set for; None for the config's.

        Raises:
          UserError: no run, no checkpoint, or one that cannot be read; a rate for a threshold that has none.
        """
        settings = {"classes": classes, "threshold": threshold, "false_alarm_rate": false_alarm_rate}
        place = expanded(directory)
        if is_artefact(place):
            scorer = load_served(place, **settings)
            return cls(scorer, scorer.thresholds)
        from hgad_jax.inference.scorer import load_scorer

        scorer = load_scorer(directory, **settings)
        return cls(scorer, scorer.thresholds)

    def __call__(self, image: ImageLike, *, class_name: str | None = None) -> Prediction:
        """Scores one image.

        Args:
          image: a path, a file open for reading, a Pillow image, or an array `[H, W]`, `[H, W, 3]` or
            `[H, W, 4]`.
          class_name: of the image, where it is known; then all is as with `classes="given"`.

        Raises:
          UserError: the image cannot be read, or there is no such class.
        """
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
        decision = self._decision(class_id is not None)
        return [
            self._decide(decision, scores, i, int(class_ids[i]), float(probabilities[i, class_ids[i]]))
            for i in range(count)
        ]

    def _decision(self, given: bool) -> Decision:
        scorer = self.scorer
        if given and scorer.mode != "given":
            return scorer.given
        return scorer.decision._replace(thresholds=self.thresholds)

    def _decide(self, decision: Decision, scores, i: int, class_id: int, probability: float) -> Decided:
        threshold, pixels = decision.thresholds[class_id], decision.pixel_thresholds[class_id]
        nearest = self.scorer.classes[class_id]
        score = float(scores.image[i])
        anomalous = score > threshold.value
        # Of anomalous images only: a decision of its own would add its false alarms to those promised.
        unknown = anomalous and bool(scores.strangeness[i] > decision.strangeness_limits[class_id])
        prediction = Prediction(
            score=score,
            normalized=float(normalized(score, threshold)),
            threshold=threshold.value,
            anomalous=anomalous,
            class_name=UNKNOWN if unknown else nearest,
            class_probability=probability,
            nearest_class=nearest,
            map=scores.maps[i],
            map_threshold=pixels.value,
            evidence=dict(zip(self.scorer.evidence_names, scores.pieces[i].tolist(), strict=True)),
        )
        return Decided(prediction, pixels)
