"""A conditional flow over the vectors of one feature map: a chain of coupling blocks.

Parameters are what is trained (`CouplingParams`, stacked over blocks); the rotations are drawn once and
fixed. Both are passed in, so that a flow is a pair of pure functions.
"""

import jax
import jax.numpy as jnp

from hgad_jax.flows import coupling
from hgad_jax.flows.position import axis_codes, axis_hot, axis_table, project


def init_params(
    key: jax.Array,
    *,
    channels: int,
    num_blocks: int,
    condition_channels: int,
    hidden_ratio: float = 2.0,
    identity: bool = False,
) -> coupling.CouplingParams:
    """Parameters of `num_blocks` blocks, stacked.

    Kernels and biases are uniform in ±1/sqrt(fan-in), PyTorch's default, which the published models use.

    Args:
      key: PRNG key.
      channels: C.
      num_blocks: K.
      condition_channels: P, width of the position code; 0 for a flow that is not told the position.
      hidden_ratio: hidden width over the subnet's input width, ceil(C/2) + P.
      identity: start with a zero last layer, so that every coupling is the identity.

    Returns:
      `CouplingParams` with a leading axis K.
    """
    passive = channels - channels // 2
    fan_in = passive + condition_channels
    hidden = round(hidden_ratio * fan_in)
    out = 2 * (channels // 2)
    keys = jax.random.split(key, 5)

    def uniform(key, fan_in, *shape):
        return jax.random.uniform(key, (num_blocks, *shape), minval=-1.0, maxval=1.0) / jnp.sqrt(fan_in)

    last = 0.0 if identity else 1.0
    return coupling.CouplingParams(
        passive_kernel=uniform(keys[0], fan_in, passive, hidden),
        condition_kernel=uniform(keys[1], fan_in, condition_channels, hidden) if condition_channels else None,
        hidden_bias=uniform(keys[2], fan_in, hidden),
        out_kernel=last * uniform(keys[3], hidden, hidden, out),
        out_bias=last * uniform(keys[4], hidden, out),
        gamma=jnp.full((num_blocks, channels), coupling.GAMMA_OF_ONE, jnp.float32),
        offset=jnp.zeros((num_blocks, channels)),
    )


def forward(
    params: coupling.CouplingParams, rotations: jax.Array, x: jax.Array, *, clamp: float
) -> tuple[jax.Array, jax.Array]:
    """Features → latents.

    Args:
      params: blocks, stacked.
      rotations: of the blocks, `[K, C, C]`.
      x: `[B, h, w, C]`.
      clamp: bound of the couplings' log-scale.

    Returns:
      z `[B, h, w, C]` and log|det dz/dx| `[B, h, w]`.
    """
    return _chain(coupling.forward, params, rotations, x, clamp=clamp, reverse=False)


def forward_vectors(
    params: coupling.CouplingParams,
    rotations: jax.Array,
    x: jax.Array,
    positions: jax.Array,
    *,
    size: tuple[int, int],
    clamp: float,
) -> tuple[jax.Array, jax.Array]:
    """`forward` for vectors taken out of their maps.

    Args:
      params: blocks, stacked.
      rotations: of the blocks, `[K, C, C]`.
      x: `[N, C]`.
      positions: where each vector comes from, y · w + x, `[N]` integers.
      size: (h, w) of the map.
      clamp: bound of the couplings' log-scale.

    Returns:
      z `[N, C]` and log|det dz/dx| `[N]`.
    """
    if params.condition_kernel is None:
        place = jnp.ones((len(x), 1))  # the same for all
    else:
        codes, place = axis_codes(*size, params.condition_kernel.shape[1]), axis_hot(positions, *size)

    def block(carry, layer):
        x, log_det = carry
        block_params, rotation = layer
        kernel, bias = block_params.condition_kernel, block_params.hidden_bias
        table = bias[None] if kernel is None else axis_table(codes, kernel, bias)
        y, block_log_det = coupling.forward_vectors(block_params, rotation, place, table, x, clamp=clamp)
        return (y, log_det + block_log_det), None

    start = (x, jnp.zeros(x.shape[:-1], x.dtype))
    # Unrolled: moving parameters and gradients of so few vectors in and out of a loop takes as long as an
    # eighth of the step.
    return jax.lax.scan(block, start, (params, rotations), unroll=True)[0]


def inverse(
    params: coupling.CouplingParams, rotations: jax.Array, z: jax.Array, *, clamp: float
) -> tuple[jax.Array, jax.Array]:
    """Latents → features; returns x `[B, h, w, C]` and log|det dx/dz| `[B, h, w]`."""
    return _chain(coupling.inverse, params, rotations, z, clamp=clamp, reverse=True)


def _chain(transform, params, rotations, x, *, clamp, reverse):
    if params.condition_kernel is not None:
        codes = axis_codes(*x.shape[1:3], params.condition_kernel.shape[1])

    def block(carry, layer):
        x, log_det = carry
        block_params, rotation = layer
        projected = block_params.hidden_bias
        if block_params.condition_kernel is not None:
            projected = project(codes, block_params.condition_kernel) + projected[None, None, :]
        y, block_log_det = transform(block_params, rotation, projected, x, clamp=clamp)
        return (y, log_det + block_log_det), None

    start = (x, jnp.zeros(x.shape[:-1], x.dtype))
    (y, log_det), _ = jax.lax.scan(block, start, (params, rotations), reverse=reverse)
    return y, log_det
