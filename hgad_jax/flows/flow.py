"""A conditional flow over the vectors of one feature map: a chain of coupling blocks.

Parameters are what is trained (`CouplingParams`, stacked over blocks); the rotations are drawn once and
fixed. Both are passed in, so that a flow is a pair of pure functions.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hgad_jax.flows import coupling
from hgad_jax.flows.grid import Grid
from hgad_jax.flows.position import axis_codes, axis_hot, axis_table, grid_codes, project
from hgad_jax.types import Array


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


def blocks_at(params: coupling.CouplingParams, place: tuple[int, int] | Grid) -> tuple[coupling.Block, ...]:
    """All of a flow that depends on its parameters and the place alone.

    Args:
      params: blocks, stacked.
      place: (h, w) for whole maps of this size, or a grid for maps of its positions.
    """
    if params.condition_kernel is None:
        return tuple(coupling.block(of_block, of_block.hidden_bias) for of_block in _unstacked(params))
    channels = params.condition_kernel.shape[1]
    codes = grid_codes(place, channels) if isinstance(place, Grid) else axis_codes(*place, channels)

    def block(params):
        projected = project(codes, params.condition_kernel) + params.hidden_bias[None, None, :]
        return coupling.block(params, projected)

    return tuple(map(block, _unstacked(params)))


def _unstacked(tree):
    """A tree for each of the blocks. As a split, since the gradient of that is a mere concatenation."""
    leaves, structure = jax.tree.flatten(tree)
    parts = (jax.lax.split(leaf, (1,) * len(leaf), axis=0) for leaf in leaves)
    return tuple(
        structure.unflatten([part.reshape(part.shape[1:]) for part in of_block])
        for of_block in zip(*parts, strict=True)
    )


def _stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def forward(
    params: coupling.CouplingParams | tuple[coupling.Block, ...],
    rotations: Float[Array, "K C C"],
    x: Float[Array, "B h w C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Features → latents.

    Args:
      params: blocks, stacked; or what `blocks_at` has made of them for maps of x's size.
      rotations: of the blocks, `[K, C, C]`; they get no gradient.
      x: `[B, h, w, C]`.
      clamp: bound of the couplings' log-scale.

    Returns:
      z `[B, h, w, C]` and log|det dz/dx| `[B, h, w]`.
    """
    _, h, w, _ = x.shape
    blocks = blocks_at(params, (h, w)) if isinstance(params, coupling.CouplingParams) else params
    return _forward(clamp, blocks, _unstacked(rotations), x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward(clamp, blocks, rotations, x):
    """A loop, which compiles fast; its gradient would spend a quarter of its time on what a loop copies."""

    def body(carry, layer):
        (block, rotation), (x, log_det) = layer, carry
        return _add_block(coupling.forward, block, rotation, x, log_det, clamp), None

    start = (x, jnp.zeros(x.shape[:-1], x.dtype))
    return jax.lax.scan(body, start, (_stacked(blocks), jnp.stack(rotations)))[0]


def _forward_unrolled(clamp, blocks, rotations, x):
    log_det = jnp.zeros(x.shape[:-1], x.dtype)
    for block, rotation in zip(blocks, rotations, strict=True):
        x, log_det = _add_block(coupling.forward, block, rotation, x, log_det, clamp)
    return x, log_det


def _add_block(transform, block, rotation, x, log_det, clamp):
    y, block_log_det = transform(block, rotation, x, clamp=clamp)
    return y, log_det + block_log_det


_forward.defvjp(
    lambda clamp, *args: jax.vjp(functools.partial(_forward_unrolled, clamp), *args),
    lambda _, backward, gradients: backward(gradients),
)


def forward_vectors(
    params: coupling.CouplingParams,
    rotations: Float[Array, "K C C"],
    x: Float[Array, "N C"],
    positions: Int[Array, " N"],
    *,
    size: tuple[int, int],
    clamp: float,
) -> tuple[Float[jax.Array, "N C"], Float[jax.Array, " N"]]:
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
        codes, place = None, jnp.ones((len(x), 1))  # the same for all
    else:
        codes, place = axis_codes(*size, params.condition_kernel.shape[1]), axis_hot(positions, *size)

    def block(carry, layer):
        x, log_det = carry
        block_params, rotation = layer
        kernel, bias = block_params.condition_kernel, block_params.hidden_bias
        table = bias[None] if codes is None else axis_table(codes, kernel, bias)
        y, block_log_det = coupling.forward_vectors(block_params, rotation, place, table, x, clamp=clamp)
        return (y, log_det + block_log_det), None

    start = (jnp.asarray(x), jnp.zeros(x.shape[:-1], x.dtype))
    # Unrolled: moving parameters and gradients of so few vectors in and out of a loop takes as long as an
    # eighth of the step.
    return jax.lax.scan(block, start, (params, rotations), unroll=True)[0]


def inverse(
    params: coupling.CouplingParams,
    rotations: Float[Array, "K C C"],
    z: Float[Array, "B h w C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Latents → features; returns x `[B, h, w, C]` and log|det dx/dz| `[B, h, w]`."""

    def body(carry, layer):
        (block, rotation), (z, log_det) = layer, carry
        return _add_block(coupling.inverse, block, rotation, z, log_det, clamp), None

    start = (jnp.asarray(z), jnp.zeros(z.shape[:-1], z.dtype))
    _, h, w, _ = z.shape
    blocks = _stacked(blocks_at(params, (h, w)))
    return jax.lax.scan(body, start, (blocks, rotations), reverse=True)[0]
