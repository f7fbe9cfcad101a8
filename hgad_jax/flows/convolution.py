"""Convolutional couplings over whole maps, as a `Flow` (FastFlow)."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hgad_jax.flows import conv_flow
from hgad_jax.flows.part import Flow
from hgad_jax.flows.permutation import permute
from hgad_jax.types import Array

_EPSILON = 1e-5  # of the layer norm's variance, PyTorch's default


class NormParams(NamedTuple):
    """The layer norm's affine map, one per element `[h, w, C]`."""

    scale: jax.Array
    offset: jax.Array


class ConvolutionParams(NamedTuple):
    """What is trained."""

    norm: NormParams | None
    couplings: conv_flow.ConvFlowParams
    output_norm: NormParams | None = None


def convolution(
    *,
    num_blocks: int,
    kernel_sizes: Sequence[int],
    hidden_ratio: float,
    clamp: float,
    identity_init: bool,
    norm: str = "none",
    output_norm: str = "none",
) -> Flow:
    """Couplings whose subnets see a neighbourhood (`flows.conv_coupling`), mixed by random permutations.

    Args:
      num_blocks: couplings, a multiple of the number of kernel sizes.
      kernel_sizes: of their convolutions, in turn; odd.
      hidden_ratio: hidden width of a coupling's subnet over its input width.
      clamp: bound of a coupling's log-scale.
      identity_init: whether couplings start as the identity.
      norm: layer norm before them: `"trainable"` affine map, `"fixed"` or `"none"`.
      output_norm: layer norm after them, likewise; what they give is then no change of variables any more.
    """

    def affine(kind, size):
        return NormParams(jnp.ones(size), jnp.zeros(size)) if kind == "trainable" else None

    def init(key, size):
        couplings = conv_flow.init_params(
            key,
            channels=size[-1],
            num_blocks=num_blocks,
            kernel_sizes=tuple(kernel_sizes),
            hidden_ratio=hidden_ratio,
            identity=identity_init,
        )
        return ConvolutionParams(affine(norm, size), couplings, affine(output_norm, size))

    def draw(key, size):
        return conv_flow.init_permutations(
            key, channels=size[-1], num_blocks=num_blocks, places=len(kernel_sizes)
        )

    def forward(params, permutations, x):
        if norm != "none":
            x = layer_norm(x, params.norm)
        z, log_det = conv_flow.forward(params.couplings, permutations, x, clamp=clamp)
        return (z if output_norm == "none" else layer_norm(z, params.output_norm)), log_det

    def inverse(params, permutations, z):
        return conv_flow.inverse(params.couplings, permutations, z, clamp=clamp)

    def carry(permutations, points):
        if not identity_init:
            return points
        return functools.reduce(permute, permutations.reshape(-1, permutations.shape[-1]), points)

    # An image's own mean and variance, taken away, cannot be found again.
    invertible = norm == output_norm == "none"
    return Flow(init, draw, forward, inverse if invertible else None, carry)


def layer_norm(x: Float[Array, "B h w C"], params: NormParams | None = None) -> Float[jax.Array, "B h w C"]:
    """Each image's map `[B, h, w, C]` to mean 0 and variance 1 over all its elements, then scaled and moved.

    It is not counted in the log-determinant, as in the published implementations: an image's own mean and
    variance cannot be inverted. With trained parameters the likelihood is unbounded (docs/detectors.md).
    """
    x = jnp.asarray(x)
    mean = x.mean((1, 2, 3), keepdims=True)
    variance = x.var((1, 2, 3), keepdims=True)
    normed = (x - mean) * jax.lax.rsqrt(variance + _EPSILON)
    if params is None:
        return normed
    return normed * jnp.broadcast_to(params.scale, x.shape) + jnp.broadcast_to(params.offset, x.shape)
