"""No flow at all, as a `Flow`: latents are what the first layer made of the features."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from hgad_jax.flows.part import Flow


class IdentityParams(NamedTuple):
    """Nothing to train: a zero, since a checkpoint cannot hold nothing."""

    none: jax.Array  # []


def identity() -> Flow:
    """The identity."""

    def unchanged(params, fixed, x):
        del params, fixed
        return x, jnp.zeros(x.shape[:-1], x.dtype)

    def vectors_unchanged(params, fixed, x, positions, size):
        del positions, size
        return unchanged(params, fixed, x)

    return Flow(
        init=lambda key, size: IdentityParams(jnp.zeros(())),
        draw=lambda key, size: (),
        forward=unchanged,
        inverse=unchanged,
        carry=lambda fixed, points: points,
        at=lambda params, place: params,
        forward_vectors=vectors_unchanged,
    )
