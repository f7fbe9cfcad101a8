"""The convolutional affine coupling block of FastFlow (FrEIA's all-in-one block on maps).

One block is: coupling, global affine, permutation of channels; the formulas are those of `coupling.py`, but
the subnet sees a neighbourhood: convolution, ReLU, convolution, with zeros around the map.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hgad_jax.flows.coupling import log_global_scale, soft_clamp
from hgad_jax.flows.linear import sum_leading
from hgad_jax.flows.permutation import permute, permute_back
from hgad_jax.platforms import by_platform
from hgad_jax.types import Array


class ConvCouplingParams(NamedTuple):
    """Trainable parameters of one block; stacked over blocks they carry a leading axis."""

    hidden_kernel: jax.Array  # [k, k, ceil(C/2), H]
    hidden_bias: jax.Array  # [H]
    out_kernel: jax.Array  # [k, k, H, 2·floor(C/2)], log-scale first, then shift
    out_bias: jax.Array  # [2·floor(C/2)]
    gamma: jax.Array  # [C], global scale before its softplus
    offset: jax.Array  # [C]


@jax.custom_vjp
def _add_bias(x, bias):
    return x + jnp.broadcast_to(bias, x.shape)


# The gradient of a broadcast is a sum over leading axes: see `linear.py`.
_add_bias.defvjp(lambda x, bias: (_add_bias(x, bias), None), lambda _, g: (g, sum_leading(g, 1)))


def convolve(
    x: Float[Array, "B h w I"], kernel: Float[Array, "k k I O"], bias: Float[Array, " O"]
) -> Float[jax.Array, "B h w O"]:
    """Cross-correlation of `[B, h, w, I]` with a kernel `[k, k, I, O]`, zeros around, size kept."""
    if kernel.shape[0] == 1:
        return _add_bias((x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1), bias)

    def neighbourhoods(x, kernel):
        k, (_, h, w, _) = kernel.shape[0], x.shape
        padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
        shifted = [padded[:, i : i + h, j : j + w] for i in range(k) for j in range(k)]
        rows = jnp.concatenate(shifted, axis=-1).reshape(-1, k * k * x.shape[-1])
        return (rows @ kernel.reshape(rows.shape[-1], -1)).reshape(*x.shape[:-1], -1)

    def convolution(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    # The gradients of a convolution are slow on XLA's CPU backend: written out as a product of matrices, a
    # training step takes an eighth of the time there.
    y = by_platform(x, kernel, cpu=neighbourhoods, default=convolution)
    return _add_bias(y, bias)


def scale_and_shift(
    params: ConvCouplingParams, passive: Float[Array, "B h w P"], clamp: float
) -> tuple[Float[jax.Array, "B h w A"], Float[jax.Array, "B h w A"]]:
    """Log-scale and shift of the transformed half `[B, h, w, floor(C/2)]` from the passive one."""
    hidden = jax.nn.relu(convolve(passive, params.hidden_kernel, params.hidden_bias))
    raw_scale, raw_shift = jnp.split(convolve(hidden, params.out_kernel, params.out_bias), 2, axis=-1)
    return soft_clamp(raw_scale, clamp), 0.1 * raw_shift


def forward(
    params: ConvCouplingParams,
    permutation: Int[Array, " C"],
    x: Float[Array, "B h w C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Features → latent through one block.

    Args:
      params: one block.
      permutation: of channels, `[C]`.
      x: `[B, h, w, C]`.
      clamp: bound of the log-scale.

    Returns:
      y `[B, h, w, C]`, and each position's share `[B, h, w]` of log|det dy/dx|, which is their sum.
    """
    passive, transformed = jnp.split(x, [x.shape[-1] - x.shape[-1] // 2], axis=-1)
    log_scale, shift = scale_and_shift(params, passive, clamp)
    u = jnp.concatenate([passive, transformed * jnp.exp(log_scale) + shift], axis=-1)
    log_g = log_global_scale(params.gamma)
    u = _add_bias(u * jnp.broadcast_to(jnp.exp(log_g), u.shape), params.offset)
    return permute(u, permutation), log_scale.sum(-1) + log_g.sum()


def inverse(
    params: ConvCouplingParams,
    permutation: Int[Array, " C"],
    y: Float[Array, "B h w C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Latent → features through one block; arguments and results as `forward`."""
    log_g = log_global_scale(params.gamma)
    u = permute_back(y, permutation) - jnp.broadcast_to(params.offset, y.shape)
    u = u * jnp.broadcast_to(jnp.exp(-log_g), y.shape)
    passive, transformed = jnp.split(u, [u.shape[-1] - u.shape[-1] // 2], axis=-1)
    log_scale, shift = scale_and_shift(params, passive, clamp)
    x = jnp.concatenate([passive, (transformed - shift) * jnp.exp(-log_scale)], axis=-1)
    return x, -log_scale.sum(-1) - log_g.sum()
