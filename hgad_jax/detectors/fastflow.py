"""FastFlow (Yu et al., 2021), as its known implementations have it: convolutional flows over whole maps."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.normal_flow import Flow, Objective, normal_flow
from hgad_jax.flows import conv_flow

_EPSILON = 1e-5  # of the layer norm's variance, PyTorch's default


class NormParams(NamedTuple):
    """The layer norm's affine map, one per element `[h, w, C]`."""

    scale: jax.Array
    offset: jax.Array


class FastFlowParams(NamedTuple):
    """What is trained of one level, but for the base distribution."""

    norm: NormParams | None
    couplings: conv_flow.ConvFlowParams


def fastflow(
    *,
    num_classes: int,
    num_blocks: int,
    kernel_sizes: tuple[int, ...],
    hidden_ratio: float,
    clamp: float,
    identity_init: bool,
    norm: str,
    conditioning: str,
    per_class: bool,
    regions: int,
    shrinkage: float,
    base: str,
    score_log_det: bool,
) -> Detector:
    """The FastFlow detector. Hyper-parameters: `config.detector` in `hgad_jax/config/fastflow.py`.

    Its only loss weight is `likelihood`.
    """

    def init(key, size):
        couplings_key, permutation_key = jax.random.split(key)
        couplings = conv_flow.init_params(
            couplings_key,
            channels=size[-1],
            num_blocks=num_blocks,
            kernel_sizes=tuple(kernel_sizes),
            hidden_ratio=hidden_ratio,
            identity=identity_init,
        )
        affine = NormParams(jnp.ones(size), jnp.zeros(size)) if norm == "trainable" else None
        permutations = conv_flow.init_permutations(
            permutation_key, channels=size[-1], num_blocks=num_blocks, places=len(kernel_sizes)
        )
        return FastFlowParams(affine, couplings), permutations

    def forward(params, permutations, x):
        if norm != "none":
            x = layer_norm(x, params.norm)
        return conv_flow.forward(params.couplings, permutations, x, clamp=clamp)

    def score(energy, log_det, channels):
        return ((log_det if score_log_det else 0.0) - energy) / channels

    return normal_flow(
        Flow(init, forward),
        Objective(loss, score),
        FirstLayer(num_classes, conditioning, per_class, regions, shrinkage),
        trainable_base=base == "trainable",
    )


def layer_norm(x: jax.Array, params: NormParams | None = None) -> jax.Array:
    """Each image's map `[B, h, w, C]` to mean 0 and variance 1 over all its elements, then scaled and moved.

    It is not counted in the log-determinant, as in the published implementations: an image's own mean and
    variance cannot be inverted. With trained parameters the likelihood is unbounded (docs/detectors.md).
    """
    mean = x.mean((1, 2, 3), keepdims=True)
    variance = x.var((1, 2, 3), keepdims=True)
    normed = (x - mean) * jax.lax.rsqrt(variance + _EPSILON)
    if params is None:
        return normed
    return normed * jnp.broadcast_to(params.scale, x.shape) + jnp.broadcast_to(params.offset, x.shape)


def loss(energy: jax.Array, log_det: jax.Array, channels: int, weights: dict) -> tuple[jax.Array, dict]:
    """Negative log-likelihood of whole maps, mean over the batch: not divided by their size, as published.

    The metric is the same in nats per dimension.
    """
    per_image = jnp.mean(jnp.sum(energy - log_det, axis=(1, 2)))
    return weights["likelihood"] * per_image, {"likelihood": jnp.mean(energy - log_det) / channels}
