"""What PaDiM and SPADE have in common: they are fitted, not trained, and combine their levels to one map."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Int


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
