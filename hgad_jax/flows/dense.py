"""Dense couplings over the vectors of a map, told the position or not, as a `Flow` (HGAD, CFLOW-AD)."""

import functools

from hgad_jax.flows import flow
from hgad_jax.flows.part import Flow
from hgad_jax.flows.rotation import random_rotations


def dense(
    *, num_blocks: int, condition_channels: int, hidden_ratio: float, clamp: float, identity_init: bool
) -> Flow:
    """Conditional affine couplings (`flows.coupling`), mixed by random rotations.

    Args:
      num_blocks: couplings.
      condition_channels: width of the position code, a multiple of 4; 0: the flow is not told the position.
      hidden_ratio: hidden width of a coupling's subnet over its input width.
      clamp: bound of a coupling's log-scale.
      identity_init: whether couplings start as the identity.
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

    def carry(rotations, points):
        if not identity_init:
            return points
        return functools.reduce(lambda p, rotation: p @ rotation.T, rotations, points)

    def forward_vectors(params, rotations, x, positions, size):
        return flow.forward_vectors(params, rotations, x, positions, size=size, clamp=clamp)

    return Flow(
        init,
        draw=lambda key, size: random_rotations(key, num_blocks, size[-1]),
        forward=functools.partial(flow.forward, clamp=clamp),
        inverse=functools.partial(flow.inverse, clamp=clamp),
        carry=carry,
        at=flow.blocks_at,
        forward_vectors=forward_vectors,
    )
