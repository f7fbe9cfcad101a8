"""FastFlow's flow: a chain of convolutional couplings whose kernels take turns in size.

Blocks that follow one another may differ in shape (3×3, 1×1, 3×3, …). Parameters are kept per place in
the turn, each stacked over the turns, so that one turn is compiled once and scanned over.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hgad_jax.flows import conv_coupling
from hgad_jax.flows.conv_coupling import ConvCouplingParams
from hgad_jax.flows.coupling import GAMMA_OF_ONE
from hgad_jax.flows.permutation import random_permutations
from hgad_jax.types import Array

ConvFlowParams = tuple[ConvCouplingParams, ...]  # one per place in the turn, stacked over turns


def init_params(
    key: jax.Array,
    *,
    channels: int,
    num_blocks: int,
    kernel_sizes: tuple[int, ...],
    hidden_ratio: float,
    identity: bool = False,
) -> ConvFlowParams:
    """Parameters of `num_blocks` blocks.

    Kernels and biases are uniform in ±1/sqrt(fan-in), PyTorch's default, which the published models use.

    Args:
      key: PRNG key.
      channels: C.
      num_blocks: a multiple of the number of kernel sizes.
      kernel_sizes: of the blocks, in turn; odd.
      hidden_ratio: hidden width over ceil(C/2), rounded down.
      identity: start with a zero last layer, so that every coupling is the identity.
    """
    turns = num_blocks // len(kernel_sizes)
    passive = channels - channels // 2
    hidden = max(1, int(passive * hidden_ratio))
    out = 2 * (channels // 2)
    last = 0.0 if identity else 1.0

    def place(key, k):
        keys = jax.random.split(key, 4)

        def uniform(key, fan_in, *shape):
            return jax.random.uniform(key, (turns, *shape), minval=-1.0, maxval=1.0) / jnp.sqrt(fan_in)

        return ConvCouplingParams(
            hidden_kernel=uniform(keys[0], passive * k * k, k, k, passive, hidden),
            hidden_bias=uniform(keys[1], passive * k * k, hidden),
            out_kernel=last * uniform(keys[2], hidden * k * k, k, k, hidden, out),
            out_bias=last * uniform(keys[3], hidden * k * k, out),
            gamma=jnp.full((turns, channels), GAMMA_OF_ONE, jnp.float32),
            offset=jnp.zeros((turns, channels)),
        )

    keys = jax.random.split(key, len(kernel_sizes))
    return tuple(place(key, k) for key, k in zip(keys, kernel_sizes, strict=True))


def init_permutations(
    key: jax.Array, *, channels: int, num_blocks: int, places: int
) -> Int[jax.Array, "turns {places} {channels}"]:
    """Fixed permutations, int32 `[turns, places in a turn, C]`."""
    return random_permutations(key, num_blocks, channels).reshape(-1, places, channels)


def forward(
    params: ConvFlowParams,
    permutations: Int[Array, "turns places C"],
    x: Float[Array, "B h w C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Features → latents.

    Args:
      params: as `init_params` makes them.
      permutations: as `init_permutations` makes them.
      x: `[B, h, w, C]`.
      clamp: bound of the couplings' log-scale.

    Returns:
      z `[B, h, w, C]`, and each position's share `[B, h, w]` of log|det dz/dx|, which is their sum.
    """
    return _chain(conv_coupling.forward, params, permutations, x, clamp=clamp, reverse=False)


def inverse(
    params: ConvFlowParams,
    permutations: Int[Array, "turns places C"],
    z: Float[Array, "B h w C"],
    *,
    clamp: float,
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Latents → features; arguments and results as `forward`."""
    return _chain(conv_coupling.inverse, params, permutations, z, clamp=clamp, reverse=True)


def _chain(transform, params, permutations, x, *, clamp, reverse):
    def turn(carry, layer):
        x, log_det = carry
        blocks = list(zip(*layer, strict=True))  # of one turn: (parameters, permutation)
        for block_params, permutation in reversed(blocks) if reverse else blocks:
            x, block_log_det = transform(block_params, permutation, x, clamp=clamp)
            log_det = log_det + block_log_det
        return (x, log_det), None

    start = (jnp.asarray(x), jnp.zeros(x.shape[:-1], x.dtype))
    return jax.lax.scan(turn, start, (params, permutations), reverse=reverse)[0]
