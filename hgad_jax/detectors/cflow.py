"""CFLOW-AD (Gudovskiy et al., WACV 2022): a conditional flow per level under a standard normal.

Without a condition it is the paper's ablation U-FLOW; with one step per batch over whole levels (`fibre=0`)
it is HGAD's flow under a normal distribution instead of the mixture.
"""

import jax
import jax.numpy as jnp

from hgad_jax.detectors.detector import Detector
from hgad_jax.detectors.first_layer import FirstLayer
from hgad_jax.detectors.normal_flow import Flow, Objective, normal_flow
from hgad_jax.distributions.normal import LOG_2PI
from hgad_jax.flows import flow
from hgad_jax.flows.rotation import random_rotations


def cflow(
    *,
    num_classes: int,
    num_blocks: int,
    condition_channels: int,
    hidden_ratio: float,
    clamp: float,
    identity_init: bool,
    conditioning: str,
    per_class: bool,
    regions: int,
    shrinkage: float,
    base: str,
    fibre: int,
    zero_grad: str,
) -> Detector:
    """The CFLOW-AD detector. Hyper-parameters: `config.detector` in `hgad_jax/config/cflow.py`.

    Its loss weights are `likelihood` and `log_sigmoid`.
    """

    def init(key, size):
        channels = size[-1]
        flow_key, rotation_key = jax.random.split(key)
        params = flow.init_params(
            flow_key,
            channels=channels,
            num_blocks=num_blocks,
            condition_channels=condition_channels,
            hidden_ratio=hidden_ratio,
            identity=identity_init,
        )
        return params, random_rotations(rotation_key, num_blocks, channels)

    def forward(params, rotations, x):
        return flow.forward(params, rotations, x, clamp=clamp)

    def forward_vectors(params, rotations, x, positions, size):
        return flow.forward_vectors(params, rotations, x, positions, size=size, clamp=clamp)

    return normal_flow(
        Flow(init, forward, forward_vectors),
        Objective(loss, score),
        FirstLayer(num_classes, conditioning, per_class, regions, shrinkage),
        trainable_base=base == "trainable",
        fibre=fibre,
        zero_grad=zero_grad,
    )


def score(energy: jax.Array, log_det: jax.Array, channels: int) -> jax.Array:
    """The log-likelihood in nats per dimension, constant included."""
    return (log_det - energy) / channels - 0.5 * LOG_2PI


def loss(energy: jax.Array, log_det: jax.Array, channels: int, weights: dict) -> tuple[jax.Array, dict]:
    """−log sigmoid of the log-likelihood per dimension, as published, and the negative log-likelihood.

    Means over all vectors; `likelihood` in nats per dimension without the constant ln(2π)/2.
    """
    log_likelihood = score(energy, log_det, channels)
    terms = {
        "likelihood": -jnp.mean(log_likelihood) - 0.5 * LOG_2PI,
        "log_sigmoid": -jnp.mean(jax.nn.log_sigmoid(log_likelihood)),
    }
    return sum(weights[name] * term for name, term in terms.items()), terms
