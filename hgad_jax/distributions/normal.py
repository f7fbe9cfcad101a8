"""The normal distribution of a flow's latents: standard, or with a trained mean and scale per element.

AltUB (Kim et al., 2022) replaces the standard normal N(0, 1) that a flow is trained towards by
N(μ, diag σ²) with one μ and one ln σ for every element (position and channel) of a level, trained along
with the flow and, in every few epochs, alone (`training.optimizers.alternating`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hgad_jax.distributions.part import LOG_2PI, Base, Weights
from hgad_jax.types import Array


class NormalParams(NamedTuple):
    """Parameters of one level, or of the positions taken out of it: `[h, w, C]`, or `[N, C]`."""

    mean: jax.Array
    log_scale: jax.Array


def init_params(shape: tuple[int, ...]) -> NormalParams:
    """The standard normal."""
    return NormalParams(jnp.zeros(shape), jnp.zeros(shape))


def at_positions(params: NormalParams, positions: Int[Array, " N"]) -> NormalParams:
    """Parameters of single positions y · w + x: `[h, w, C]` and `[N]` → `[N, C]`."""
    return NormalParams(*(p.reshape(-1, p.shape[-1])[positions] for p in params))


def at_grid(params: NormalParams, grid: Any) -> NormalParams:
    """Parameters of a grid's positions (`rows` and `columns`): `[h, w, C]` → `[n, m, C]`."""
    return NormalParams(*(p.take(grid.rows, 0).take(grid.columns, 1) for p in params))


def energy(z: Float[Array, "*B C"], params: NormalParams | None = None) -> Float[jax.Array, "*B"]:
    """−log p(z) without the constant (C/2)·ln 2π, in nats.

    Σ_c ½ ((z − μ)/σ)² + ln σ (AltUB, the sum in equation 7), whose gradients are (μ − z)/σ² for μ and
    1 − ((z − μ)/σ)² for ln σ.

    Args:
      z: latents `[..., C]`.
      params: broadcast over z's leading axes; None for the standard normal.

    Returns:
      `[...]`.
    """
    if params is None:
        return 0.5 * jnp.sum(z**2, -1)
    log_scale = jnp.broadcast_to(params.log_scale, z.shape)
    return jnp.sum(0.5 * standardized(z, params) ** 2 + log_scale, -1)


def standardized(z: Float[Array, "*B C"], params: NormalParams | None = None) -> Float[Array, "*B C"]:
    """(z − μ)/σ; arguments as `energy`."""
    if params is None:
        return z
    mean, log_scale = (jnp.broadcast_to(p, z.shape) for p in params)
    return (z - mean) * jnp.exp(-log_scale)


def log_prob(z: Float[Array, "*B C"], params: NormalParams | None = None) -> Float[jax.Array, "*B"]:
    """log p(z) in nats, constant included; arguments as `energy`."""
    return -energy(z, params) - 0.5 * z.shape[-1] * LOG_2PI


def terms(log_likelihood: Float[Array, "*B"]) -> dict[str, Float[jax.Array, ""]]:
    """Loss terms of log-likelihoods in nats per dimension, constant included; means over all vectors.

    Args:
      log_likelihood: `[...]`.

    Returns:
      `likelihood`, the negative log-likelihood in nats per dimension without the constant ln(2π)/2, and
      `log_sigmoid`, −log sigmoid of the log-likelihood (CFLOW-AD, as released).
    """
    return {
        "likelihood": -jnp.mean(log_likelihood) - 0.5 * LOG_2PI,
        "log_sigmoid": -jnp.mean(jax.nn.log_sigmoid(log_likelihood)),
    }


def _log_prob_of_features(params, z, log_det, class_ids):
    del class_ids
    return log_det - energy(z, params)


def _loss(params, z, log_det, class_ids, weights: Weights):
    log_likelihood = _log_prob_of_features(params, z, log_det, class_ids) / z.shape[-1] - 0.5 * LOG_2PI
    found = terms(log_likelihood)
    return sum(weights[name] * term for name, term in found.items() if name in weights), found


def standard() -> Base:
    """The standard normal distribution."""
    return Base(
        init=lambda key, size, centres: None,
        log_prob=_log_prob_of_features,
        loss=_loss,
        terms=("likelihood", "log_sigmoid"),
        stage_two=("log_sigmoid",),
        constant=0.5 * LOG_2PI,
        standardized=lambda params, z: standardized(z, params),
    )


def trainable() -> Base:
    """A normal distribution with a mean and a scale of its own for every element (AltUB)."""
    return standard()._replace(
        init=lambda key, size, centres: init_params(size),
        at_grid=at_grid,
        of_vectors=at_positions,
        alternation="altub",
    )
