"""What a detector minimises, and what it scores with: of the latents under any base distribution."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from hgad_jax.distributions import Base
from hgad_jax.distributions.part import Weights
from hgad_jax.types import Array, Scalar


class Loss(Protocol):
    """What is minimised."""

    def __call__(
        self,
        base: Base,
        params: Any,
        z: jax.Array,
        log_det: jax.Array,
        class_ids: Array,
        weights: Weights,
        /,
    ) -> tuple[Scalar, dict[str, jax.Array]]:
        """(base, its parameters, latents, log-dets, class ids, weights) → (scalar, terms), as `Base.loss`."""
        ...


class Score(Protocol):
    """What is scored with."""

    def __call__(
        self, base: Base, params: Any, z: jax.Array, log_det: jax.Array, class_ids: Array, /
    ) -> jax.Array:
        """(base, its parameters, latents, log-dets, class ids) → `Evidence.log_likelihood` of a level."""
        ...


class Objective(NamedTuple):
    """Loss and score.

    Attributes:
      loss: of one level; the losses of levels are added.
      score: the log-likelihood of the image's class in nats per dimension, or what a paper has instead.
      terms: names of the loss terms, keys of `config.loss`; None: those of the base distribution.
    """

    loss: Loss
    score: Score
    terms: tuple[str, ...] | None = None


def per_vector() -> Objective:
    """The base distribution's own objective, a mean over vectors; scores are log-likelihoods."""

    def loss(base, params, z, log_det, class_ids, weights):
        return base.loss(params, z, log_det, class_ids, weights)

    def score(base, params, z, log_det, class_ids):
        return base.log_prob(params, z, log_det, class_ids) / z.shape[-1] - base.constant

    return Objective(loss, score)


def whole_maps(*, score_log_det: bool) -> Objective:
    """Negative log-likelihood of whole maps, mean over the batch: not divided by their size (FastFlow).

    The metric is the same in nats per dimension.

    Args:
      score_log_det: whether a position's score has its share of the log-determinant; the published has not.
    """

    def loss(base, params, z, log_det, class_ids, weights):
        log_prob = base.log_prob(params, z, log_det, class_ids)
        per_image = -jnp.mean(jnp.sum(log_prob, axis=(1, 2)))
        return weights["likelihood"] * per_image, {"likelihood": -jnp.mean(log_prob) / z.shape[-1]}

    def score(base, params, z, log_det, class_ids):
        counted = log_det if score_log_det else jnp.zeros_like(log_det)
        return base.log_prob(params, z, counted, class_ids) / z.shape[-1]

    return Objective(loss, score, terms=("likelihood",))
