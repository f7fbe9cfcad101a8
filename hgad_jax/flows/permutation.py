"""Fixed random permutations of channels between couplings ("hard permutation")."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from hgad_jax.types import Array


def random_permutations(key: jax.Array, count: int, channels: int) -> Int[jax.Array, "{count} {channels}"]:
    """`count` independent permutations, int32 `[count, channels]`."""
    keys = jax.random.split(key, count)
    return jax.vmap(lambda k: jax.random.permutation(k, channels))(keys).astype(jnp.int32)


def permute(x: Float[Array, "*rows C"], permutation: Int[Array, " C"]) -> Float[jax.Array, "*rows C"]:
    """Output channel i is input channel permutation[i]: `[..., C]`."""
    return jnp.take(x, permutation, axis=-1)


def permute_back(y: Float[Array, "*rows C"], permutation: Int[Array, " C"]) -> Float[jax.Array, "*rows C"]:
    """Inverse of `permute`."""
    return jnp.take(y, jnp.argsort(permutation), axis=-1)
