"""The normal distribution of a flow's latents: standard, or with a trained mean and scale per element.

AltUB (Kim et al., 2022) replaces the standard normal N(0, 1) that a flow is trained towards by
N(μ, diag σ²) with one μ and one ln σ for every element (position and channel) of a level, trained along
with the flow and, in every few epochs, alone (`training.optimizers.alternating`).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

LOG_2PI = math.log(2 * math.pi)


class NormalParams(NamedTuple):
    """Parameters of one level, or of the positions taken out of it: `[h, w, C]`, or `[N, C]`."""

    mean: jax.Array
    log_scale: jax.Array


def init_params(shape: tuple[int, ...]) -> NormalParams:
    """The standard normal."""
    return NormalParams(jnp.zeros(shape), jnp.zeros(shape))


def at_positions(params: NormalParams, positions: jax.Array) -> NormalParams:
    """Parameters of single positions y · w + x: `[h, w, C]` and `[N]` → `[N, C]`."""
    return NormalParams(*(p.reshape(-1, p.shape[-1])[positions] for p in params))


def energy(z: jax.Array, params: NormalParams | None = None) -> jax.Array:
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


def standardized(z: jax.Array, params: NormalParams | None = None) -> jax.Array:
    """(z − μ)/σ; arguments as `energy`."""
    if params is None:
        return z
    mean, log_scale = (jnp.broadcast_to(p, z.shape) for p in params)
    return (z - mean) * jnp.exp(-log_scale)


def log_prob(z: jax.Array, params: NormalParams | None = None) -> jax.Array:
    """log p(z) in nats, constant included; arguments as `energy`."""
    return -energy(z, params) - 0.5 * z.shape[-1] * LOG_2PI
