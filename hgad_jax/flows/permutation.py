"""Fixed random permutations of channels between couplings ("hard permutation")."""

import jax
import jax.numpy as jnp


def random_permutations(key: jax.Array, count: int, channels: int) -> jax.Array:
    """`count` independent permutations, int32 `[count, channels]`."""
    keys = jax.random.split(key, count)
    return jax.vmap(lambda k: jax.random.permutation(k, channels))(keys).astype(jnp.int32)


def permute(x: jax.Array, permutation: jax.Array) -> jax.Array:
    """Output channel i is input channel permutation[i]: `[..., C]`."""
    return jnp.take(x, permutation, axis=-1)


def permute_back(y: jax.Array, permutation: jax.Array) -> jax.Array:
    """Inverse of `permute`."""
    return jnp.take(y, jnp.argsort(permutation), axis=-1)
