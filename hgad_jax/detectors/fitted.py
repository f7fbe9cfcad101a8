"""What PaDiM, SPADE and PatchCore have in common: they are fitted, not trained."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Int

from hgad_jax.detectors.detector import Detector


class Untrained(NamedTuple):
    """Parameters of a detector without any: a checkpoint cannot hold nothing."""

    none: jax.Array  # []


def init_params() -> tuple[Untrained]:
    """The parameters."""
    return (Untrained(jnp.zeros(())),)


def prepare(constants, features, labels, grids=None):
    """There is no training step to prepare for."""
    del constants, labels, grids
    return features


def loss(params, constants, inputs, labels, weights):
    """Zero: such a detector takes no training steps (`config.train.epochs` is 0)."""
    del constants, inputs, labels, weights
    return 0.0 * params[0].none, {}


def nearest_indices(source: int, target: int) -> Int[jax.Array, " {target}"]:
    """Which of `source` pixels each of `target` pixels shows, enlarged without interpolation: `[target]`."""
    return (jnp.arange(target) * source) // target


class Fitted(NamedTuple):
    """Constants of a detector whose parameters are not trained."""

    params: Any
    constants: Any


def as_fitted(detector: Detector) -> Detector:
    """A composed detector that takes no training steps: what would be trained is constant."""

    def init(key, batches):
        return init_params(), Fitted(*detector.init(key, batches))

    def abstract(sizes):
        return jax.eval_shape(init_params), Fitted(*detector.abstract(sizes))

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        del params
        return detector.evidence(
            constants.params, constants.constants, features, class_ids, mix_classes=mix_classes
        )

    return Detector(init, abstract, prepare, loss, evidence, detector.published, fitted=True)
