"""The conditional affine coupling block of HGAD and CFLOW-AD (FrEIA's all-in-one block).

One block is: coupling, global affine, rotation.

    x = [x1, x2]                       x1 passive: ceil(C/2) channels, x2 transformed: floor(C/2)
    a = relu([x1, c] K1 + b1) K2 + b2  the subnet; c is the position code
    s = clamp · tanh(0.1 · a_s)        soft clamp of the log-scale
    u = [x1, x2 · exp(s) + 0.1 · a_t]
    y = R (g ⊙ u + o)                  learned scale g > 0 and offset o per channel, fixed rotation R

with log|det J| = Σ s + Σ log g. The first layer is kept as two kernels, one for x1 and one for the
condition: the condition is the same for all images, so its part is computed once per position and added.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hgad_jax.flows.linear import dense, dense_beside

# softplus of FrEIA's global affine: g = 0.2 · log(1 + exp(gamma / 2)); g(GAMMA_OF_ONE) = 1.
GAMMA_OF_ONE = 9.986478501101022


class CouplingParams(NamedTuple):
    """Trainable parameters of one block; stacked over blocks they carry a leading axis."""

    passive_kernel: jax.Array  # [ceil(C/2), H]
    condition_kernel: jax.Array | None  # [P, H]; None without a condition
    hidden_bias: jax.Array  # [H]
    out_kernel: jax.Array  # [H, 2·floor(C/2)], log-scale first, then shift
    out_bias: jax.Array  # [2·floor(C/2)]
    gamma: jax.Array  # [C], global scale before its softplus
    offset: jax.Array  # [C]


def soft_clamp(raw: jax.Array, clamp: float) -> jax.Array:
    """Log-scale of a coupling from the subnet's raw output: bounded by ±clamp, slope 0.1·clamp at zero."""
    return clamp * jnp.tanh(0.1 * raw)


def log_global_scale(gamma: jax.Array) -> jax.Array:
    """log g for g = 0.2 · softplus(gamma / 2)."""
    return jnp.log(0.2) + jnp.log(jax.nn.softplus(0.5 * gamma))


def scale_and_shift(
    params: CouplingParams, preactivation: jax.Array, clamp: float
) -> tuple[jax.Array, jax.Array]:
    """Log-scale and shift of the transformed half, each `[..., floor(C/2)]`.

    Args:
      params: one block.
      preactivation: of the hidden layer, `[..., H]`.
      clamp: bound of the log-scale.
    """
    raw = dense(jax.nn.relu(preactivation), params.out_kernel, params.out_bias)
    raw_scale, raw_shift = jnp.split(raw, 2, axis=-1)
    return soft_clamp(raw_scale, clamp), 0.1 * raw_shift


def forward(
    params: CouplingParams, rotation: jax.Array, projected: jax.Array, x: jax.Array, *, clamp: float
) -> tuple[jax.Array, jax.Array]:
    """Features → latent through one block, for whole maps.

    Args:
      params: one block.
      rotation: fixed orthogonal R, `[C, C]`.
      projected: the condition's part of the hidden layer, bias included, `[h, w, H]`; or the bias `[H]`.
      x: `[B, h, w, C]`.
      clamp: bound of the log-scale.

    Returns:
      y `[B, h, w, C]` and log|det dy/dx| `[B, h, w]`.
    """
    passive, transformed = _halves(x)
    preactivation = dense(passive, params.passive_kernel, projected)
    log_scale, shift = scale_and_shift(params, preactivation, clamp)
    u = jnp.concatenate([passive, transformed * jnp.exp(log_scale) + shift], axis=-1)
    log_g = log_global_scale(params.gamma)
    # g and o become part of the rotation: a pass over memory less, a product more in the gradient.
    y = dense(u, jnp.exp(log_g)[:, None] * rotation.T, params.offset @ rotation.T)
    return y, log_scale.sum(-1) + log_g.sum()


def forward_vectors(
    params: CouplingParams,
    rotation: jax.Array,
    place: jax.Array,
    table: jax.Array,
    x: jax.Array,
    *,
    clamp: float,
) -> tuple[jax.Array, jax.Array]:
    """`forward` for vectors taken out of their maps, few enough to stay in the processor's cache.

    Args:
      params: one block.
      rotation: fixed orthogonal R, `[C, C]`.
      place: of each vector, `[N, T]`.
      table: `place @ table` is the condition's part of the hidden layer, bias included, `[T, H]`.
      x: `[N, C]`.
      clamp: bound of the log-scale.

    Returns:
      y `[N, C]` and log|det dy/dx| `[N]`.
    """
    passive, transformed = _halves(x)
    preactivation = dense_beside(passive, place, params.passive_kernel, table)
    log_scale, shift = scale_and_shift(params, preactivation, clamp)
    u = jnp.concatenate([passive, transformed * jnp.exp(log_scale) + shift], axis=-1)
    log_g = log_global_scale(params.gamma)
    u = u * jnp.broadcast_to(jnp.exp(log_g), u.shape) + jnp.broadcast_to(params.offset, u.shape)
    return u @ rotation.T, log_scale.sum(-1) + log_g.sum()


def _halves(x: jax.Array) -> list[jax.Array]:
    """Passive and transformed channels."""
    return jnp.split(x, [x.shape[-1] - x.shape[-1] // 2], axis=-1)


def inverse(
    params: CouplingParams, rotation: jax.Array, projected: jax.Array, y: jax.Array, *, clamp: float
) -> tuple[jax.Array, jax.Array]:
    """Latent → features through one block; arguments as `forward`. Returns x and log|det dx/dy|."""
    log_g = log_global_scale(params.gamma)
    u = (y @ rotation - jnp.broadcast_to(params.offset, y.shape)) * jnp.broadcast_to(jnp.exp(-log_g), y.shape)
    passive, transformed = _halves(u)
    preactivation = dense(passive, params.passive_kernel, projected)
    log_scale, shift = scale_and_shift(params, preactivation, clamp)
    x = jnp.concatenate([passive, (transformed - shift) * jnp.exp(-log_scale)], axis=-1)
    return x, -log_scale.sum(-1) - log_g.sum()
