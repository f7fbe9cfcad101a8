"""Dense couplings over the vectors of a map, told the position or not, as a `Flow` (HGAD, CFLOW-AD)."""

import functools

import jax.numpy as jnp

from hgad_jax.flows import flow
from hgad_jax.flows.coupling import GAMMA_OF_ONE, CouplingParams
from hgad_jax.flows.part import Flow
from hgad_jax.flows.rotation import random_rotations


def dense(
    *,
    num_blocks: int,
    condition_channels: int,
    hidden_ratio: float,
    clamp: float,
    identity_init: bool,
    fixed_scale: bool = False,
) -> Flow:
    """Conditional affine couplings (`flows.coupling`), mixed by random rotations.

    Args:
      num_blocks: couplings.
      condition_channels: width of the position code, a multiple of 4; 0: the flow is not told the position.
      hidden_ratio: hidden width of a coupling's subnet over its input width.
      clamp: bound of a coupling's log-scale.
      identity_init: whether couplings start as the identity.
      fixed_scale: whether the scale of each channel stays 1 and its offset 0, instead of being trained. The
        parameters have both all the same.
    """

    def init(key, size):
        return flow.init_params(
            key,
            channels=size[-1],
            num_blocks=num_blocks,
            condition_channels=condition_channels,
            hidden_ratio=hidden_ratio,
            identity=identity_init,
        )

    def fixed(params):
        if not fixed_scale or not isinstance(params, CouplingParams):  # else `at` has fixed them
            return params
        return params._replace(
            gamma=jnp.full_like(params.gamma, GAMMA_OF_ONE), offset=jnp.zeros_like(params.offset)
        )

    def forward(params, rotations, x):
        return flow.forward(fixed(params), rotations, x, clamp=clamp)

    def inverse(params, rotations, z):
        return flow.inverse(fixed(params), rotations, z, clamp=clamp)

    def carry(rotations, points):
        if not identity_init:
            return points
        return functools.reduce(lambda p, rotation: p @ rotation.T, rotations, points)

    def forward_vectors(params, rotations, x, positions, size):
        return flow.forward_vectors(fixed(params), rotations, x, positions, size=size, clamp=clamp)

    return Flow(
        init,
        draw=lambda key, size: random_rotations(key, num_blocks, size[-1]),
        forward=forward,
        inverse=inverse,
        carry=carry,
        at=lambda params, place: flow.blocks_at(fixed(params), place),
        forward_vectors=forward_vectors,
    )
