"""How good a model is now: calibrated and evaluated from cached features, as `train.py` and `eval.py` would.

No score and no metric is computed here; what is jitted is jitted once for all models of a preset.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax.data import Dataset
from hgad_jax.data.features import FeatureCache
from hgad_jax.data.geometry import transform_of, visible_boxes
from hgad_jax.data.transforms import load_mask
from hgad_jax.errors import UserError
from hgad_jax.metrics.ranking import auroc
from hgad_jax.runs import near_duplicates
from hgad_jax.runs.calibrate import make_calibrate
from hgad_jax.runs.model import (
    Model,
    build_model,
    cached_features,
    evidence_function,
    score_function,
)
from hgad_jax.runs.training_set import TrainingSet, training_set
from hgad_jax.scoring.constants import of_classes

_BATCH = 32  # images


class Problem(NamedTuple):
    """What a preset's models are trained and tested on."""

    config: Any
    model: Model
    dataset: Dataset
    train: FeatureCache  # of all good training images; each seed holds some of them out
    test: FeatureCache

    def seeded(self, seed: int) -> tuple[Any, TrainingSet]:
        """The config and the training set of a seed."""
        config = self.config.copy_and_resolve_references()
        config.seed = seed
        groups = near_duplicates.find(config, self.dataset, self.train)
        return config, training_set(config, self.dataset, self.train, groups)


def make_problem(config: Any, dataset: Dataset, log) -> Problem:
    """Loads the backbone and computes the features, or finds them in `config.cache.dir`."""
    model = build_model(config, len(dataset.classes))
    train, test = (
        cached_features(config, model.levels, records, config.cache.dir, log)
        for records in (dataset.train, dataset.test)
    )
    return Problem(config, model, dataset, train, test)


class Judge:
    """Evaluates models of one preset."""

    def __init__(self, problem: Problem):
        self._problem = problem
        config, dataset = problem.config, problem.dataset
        self._transform = transform_of(config.data)
        self._calibrate = make_calibrate(config, problem.model)
        self._evidence = evidence_function(problem.model)
        self._scores, self._take = score_function(config), jax.jit(of_classes)
        self._labels = np.array([dataset.classes.index(r.class_name) for r in dataset.test])
        self._anomalous = np.array([r.anomalous for r in dataset.test])
        self._masks = {i: self._mask(r) for i, r in enumerate(dataset.test) if r.mask is not None}

    def _mask(self, record) -> np.ndarray:
        return load_mask(record.mask, self._transform, image=record.path)

    def __call__(self, params: Any, constants: Any, data: TrainingSet) -> dict[str, Any]:
        """AUROC of images and pixels: the means over classes, and those of each class.

        Args:
          params: of the model.
          constants: of the model.
          data: its training set, whose held-out images calibrate it.

        Raises:
          UserError: scores are not finite.
        """
        held_out = data.held_out
        given = (data.labels[held_out], data.boxes, data.groups)
        calibration = self._calibrate(params, constants, lambda: data.batches(held_out), *given)
        image, maps = np.zeros(len(self._labels), np.float32), {}
        with_truth = np.isin(self._labels, self._labels[list(self._masks)])  # of classes with masks
        for rows in self._batches():
            found = self._score(params, constants, calibration, rows)
            image[rows] = found.image[: len(rows)]
            maps |= {i: found.maps[k] for k, i in enumerate(rows) if with_truth[i]}
        if not np.isfinite(image).all():
            raise UserError("The scores of this model are not finite: training has diverged.")
        classes = {
            name: self._of_class(k, image, maps) for k, name in enumerate(self._problem.dataset.classes)
        }
        return _means(classes) | {"classes": classes}

    def _batches(self) -> list[np.ndarray]:
        return np.array_split(np.arange(len(self._labels)), range(_BATCH, len(self._labels), _BATCH))

    def _score(self, params, constants, calibration, rows):
        filled = rows[np.minimum(np.arange(_BATCH), len(rows) - 1)]  # so that one program does for all
        evidence = self._evidence(params, constants, self._problem.test.gather(filled), None)
        fixed = self._take(calibration.constants, evidence.class_ids)
        side = self._transform.working_size
        boxes = visible_boxes(self._transform, [(side, side)] * _BATCH)
        terms = (evidence.log_likelihood, evidence.negative_entropy)
        return jax.device_get(self._scores(*terms, fixed, jnp.asarray(boxes)))

    def _of_class(self, k: int, image: np.ndarray, maps: dict[int, np.ndarray]) -> dict[str, float]:
        indices = np.flatnonzero(self._labels == k)
        found = {"image_auroc": auroc(self._anomalous[indices], image[indices])}
        seen = [i for i in indices if i in maps]
        if seen:
            nothing = np.zeros(maps[seen[0]].shape, bool)
            masks = np.stack([self._masks.get(i, nothing) for i in seen])
            found["pixel_auroc"] = auroc(masks, np.stack([maps[i] for i in seen]))
        return {name: value for name, value in found.items() if value is not None}


def _means(classes: dict[str, dict[str, float]]) -> dict[str, float]:
    names = sorted({name for found in classes.values() for name in found})
    return {n: float(np.mean([found[n] for found in classes.values() if n in found])) for n in names}
