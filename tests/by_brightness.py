"""A predictor without a model: an image's score is how bright its brightest hundredth is."""

from types import SimpleNamespace

import numpy as np
from trees import SIDE, tiny_config

from hgad_jax.data.geometry import Transform
from hgad_jax.errors import UserError
from hgad_jax.inference.predictor import Decided, Prediction
from hgad_jax.inference.regions import regions
from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.good import fitted
from hgad_jax.scoring.threshold import Threshold

LIMIT = Threshold(200.0, 0.01, (0.0, 0.1), 10, "conformal", 100.0)


class ByBrightness:
    """What `predict` and a server use of a `Predictor`."""

    def __init__(self, classes=("part",)):
        limits, number = (LIMIT,) * len(classes), len(classes)
        of_class = (np.arange(191.0, 201.0), np.ones(10), np.arange(10))
        good = tuple(one._replace(tail=None) for one in fitted([of_class] * number))
        rates = (LIMIT.rate,) * number
        self.decision = Decision(limits, limits, np.full(number, np.inf), rates, good, good, "reject")
        self.scorer = SimpleNamespace(
            config=tiny_config("data"),
            transform=Transform(SIDE),
            classes=classes,
            mode="inferred",
            step=7,
            given=self.decision,
        )

    def class_id(self, class_name):
        if class_name not in (None, *self.scorer.classes):
            raise UserError(f"The model knows no class '{class_name}'.")
        return None if class_name is None else self.scorer.classes.index(class_name)

    def decide(self, squares, sizes, class_id=None, *, batch_size=None, names=()):
        name = self.scorer.classes[class_id or 0]
        found = []
        for square, size in zip(squares, sizes, strict=True):
            values = square.mean(2).astype(np.float32)
            score = float(np.sort(values.ravel())[-values.size // 100 :].mean())
            said = (score, score / 400, LIMIT.value, score > LIMIT.value, 0.5, name, 1.0, False, 0.5)
            marked = regions(values, LIMIT.value, self.scorer.transform, size)
            found.append(Decided(Prediction(*said, values, LIMIT.value, marked), LIMIT))
        return found
