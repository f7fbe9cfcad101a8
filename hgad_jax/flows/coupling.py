"""The conditional affine coupling block of HGAD and CFLOW-AD (FrEIA's all-in-one block).

One block is: coupling, global affine, rotation.

    x = [x1, x2]                       x1 passive: ceil(C/2) channels, x2 transformed: floor(C/2)
    a = relu([x1, c] K1 + b1) K2 + b2  the subnet; c is the position code
    s = clamp · tanh(0.1 · a_s)        soft clamp of the log-scale
    u = [x1, x2 · exp(s) + 0.1 · a_t]
    y = R (g ⊙ u + o)                  learned scale g > 0 and offset o per channel, fixed rotation R

with log|det J| = Σ s + Σ log g. The first layer is kept as two kernels, one for x1 and one for the
condition: the condition is the same for all images, so its part is computed once per position and added.

The forward pass has a gradient of its own. Derived by itself it has the same matrix products, but a CPU
spends as much time again around them: on what XLA then computes twice or copies. With a gradient of its own
it cannot be differentiated forward (`jax.jvp`, `jax.jacfwd`), only backward.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import optimization_barrier
from jaxtyping import Float

from hgad_jax.flows.linear import dense, dense_beside, narrow_product, rows, sum_leading
from hgad_jax.types import Array

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


def soft_clamp(raw: Float[Array, "*shape"], clamp: float) -> Float[jax.Array, "*shape"]:
    """Log-scale of a coupling from the subnet's raw output: bounded by ±clamp, slope 0.1·clamp at zero."""
    return clamp * jnp.tanh(0.1 * raw)


def log_global_scale(gamma: Float[Array, "*shape"]) -> Float[jax.Array, "*shape"]:
    """log g for g = 0.2 · softplus(gamma / 2)."""
    return jnp.log(0.2) + jnp.log(jax.nn.softplus(0.5 * gamma))


def scale_and_shift(
    preactivation: Float[Array, "*rows H"],
    out_kernel: Float[Array, "H O"],
    out_bias: Float[Array, " O"],
    clamp: float,
) -> tuple[Float[jax.Array, "*rows A"], Float[jax.Array, "*rows A"]]:
    """Log-scale and shift of the transformed half, each `[..., floor(C/2)]`.

    Args:
      preactivation: of the hidden layer, `[..., H]`.
      out_kernel: `[H, 2·floor(C/2)]`.
      out_bias: `[2·floor(C/2)]`.
      clamp: bound of the log-scale.
    """
    raw = dense(jax.nn.relu(preactivation), out_kernel, out_bias)
    raw_scale, raw_shift = jnp.split(raw, 2, axis=-1)
    return soft_clamp(raw_scale, clamp), 0.1 * raw_shift


class Block(NamedTuple):
    """What a block computes with: made of its parameters and the condition alone, the same for all images."""

    passive_kernel: jax.Array  # [ceil(C/2), H]
    projected: Array  # the condition's part of the hidden layer, bias included: [h, w, H] or [H]
    out_kernel: jax.Array  # [2·floor(C/2), H]: its gradient is that of a product without a transposed copy
    out_bias: jax.Array  # [2·floor(C/2)]
    log_g: jax.Array  # [C]
    offset: jax.Array  # [C]


def block(params: CouplingParams, projected: Float[Array, "*place H"]) -> Block:
    """A block of its parameters and the condition's part of its hidden layer, bias included."""
    log_g = log_global_scale(params.gamma)
    return Block(params.passive_kernel, projected, params.out_kernel.T, params.out_bias, log_g, params.offset)


def forward(
    block: Block, rotation: Float[Array, "C C"], x: Float[Array, "B h w C"], *, clamp: float
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Features → latent through one block, for whole maps.

    Args:
      block: made by `block`.
      rotation: fixed orthogonal R, `[C, C]`; it gets no gradient.
      x: `[B, h, w, C]`.
      clamp: bound of the log-scale.

    Returns:
      y `[B, h, w, C]` and log|det dy/dx| `[B, h, w]`.
    """
    return _forward(clamp, block, rotation, x)


def _halves(x: Array) -> list[jax.Array]:
    """Passive and transformed channels."""
    return jnp.split(x, [x.shape[-1] - x.shape[-1] // 2], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(clamp, block, rotation, x):
    return _forward_and_kept(clamp, block, rotation, x)[0]


def _forward_and_kept(clamp, block, rotation, x):
    maps, x = x.shape[:-1], rows(x)
    passive, transformed = _halves(x)
    hidden = (passive @ block.passive_kernel).reshape(*maps, -1)
    hidden = rows(jax.nn.relu(hidden + jnp.broadcast_to(block.projected, hidden.shape)))
    # What goes behind a barrier is stored once; otherwise XLA computes it anew wherever it is used.
    hidden = optimization_barrier(hidden)
    raw = hidden @ block.out_kernel.T
    raw_scale, raw_shift = jnp.split(raw + jnp.broadcast_to(block.out_bias, raw.shape), 2, axis=-1)
    tanh = jnp.tanh(0.1 * raw_scale)
    scale = jnp.exp(clamp * tanh)
    u = jnp.concatenate([passive, transformed * scale + 0.1 * raw_shift], axis=-1)
    w = u * jnp.broadcast_to(jnp.exp(block.log_g), u.shape) + jnp.broadcast_to(block.offset, u.shape)
    tanh, scale, w = optimization_barrier((tanh, scale, w))
    y = (w @ rotation.T).reshape(*maps, -1)
    log_det = clamp * tanh.sum(-1).reshape(maps) + block.log_g.sum()
    return (y, log_det), (block, rotation, x, hidden, tanh, scale, w)


def _backward(clamp, kept, gradients):
    """`dw` is the gradient of w, `d_raw` that of raw, and so on."""
    block, rotation, x, hidden, tanh, scale, w = kept
    dy, d_log_det = gradients
    maps, dy, d_log_det = dy.shape[:-1], rows(dy), d_log_det.reshape(-1, 1)
    passive, transformed = _halves(x)

    dw = dy @ rotation
    d_offset = sum_leading(dw, 1)
    d_log_g = sum_leading(dw * w, 1) - block.offset * d_offset + d_log_det.sum()
    d_passive, d_coupled = _halves(dw * jnp.broadcast_to(jnp.exp(block.log_g), dw.shape))
    d_transformed = d_coupled * scale
    d_log_scale = d_transformed * transformed + jnp.broadcast_to(d_log_det, scale.shape)
    d_raw = jnp.concatenate([0.1 * clamp * d_log_scale * (1 - tanh**2), 0.1 * d_coupled], axis=-1)
    d_raw = optimization_barrier(d_raw)

    d_hidden = optimization_barrier(jnp.where(hidden > 0, d_raw @ block.out_kernel, 0))
    d_block = Block(
        passive_kernel=passive.T @ d_hidden,
        projected=sum_leading(d_hidden.reshape(*maps, -1), block.projected.ndim),
        out_kernel=d_raw.T @ hidden,
        out_bias=sum_leading(d_raw, 1),
        log_g=d_log_g,
        offset=d_offset,
    )
    d_passive = d_passive + narrow_product(d_hidden, block.passive_kernel)
    dx = jnp.concatenate([d_passive, d_transformed], axis=-1)
    return d_block, None, dx.reshape(*maps, -1)


_forward.defvjp(_forward_and_kept, _backward)


def forward_vectors(
    params: CouplingParams,
    rotation: Float[Array, "C C"],
    place: Float[Array, "N T"],
    table: Float[Array, "T H"],
    x: Float[Array, "N C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "N C"], Float[jax.Array, " N"]]:
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
    log_scale, shift = scale_and_shift(preactivation, params.out_kernel, params.out_bias, clamp)
    u = jnp.concatenate([passive, transformed * jnp.exp(log_scale) + shift], axis=-1)
    log_g = log_global_scale(params.gamma)
    u = u * jnp.broadcast_to(jnp.exp(log_g), u.shape) + jnp.broadcast_to(params.offset, u.shape)
    return u @ rotation.T, log_scale.sum(-1) + log_g.sum()


def inverse(
    block: Block, rotation: Float[Array, "C C"], y: Float[Array, "B h w C"], *, clamp: float
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Latent → features through one block; arguments as `forward`. Returns x and log|det dx/dy|."""
    g = jnp.broadcast_to(jnp.exp(-block.log_g), y.shape)
    passive, transformed = _halves((y @ rotation - jnp.broadcast_to(block.offset, y.shape)) * g)
    preactivation = dense(passive, block.passive_kernel, block.projected)
    log_scale, shift = scale_and_shift(preactivation, block.out_kernel.T, block.out_bias, clamp)
    x = jnp.concatenate([passive, (transformed - shift) * jnp.exp(-log_scale)], axis=-1)
    return x, -log_scale.sum(-1) - block.log_g.sum()
