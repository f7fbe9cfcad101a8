"""Fixed random rotations that mix channels between couplings ("soft permutation")."""

import jax
import jax.numpy as jnp
from jaxtyping import Float


def random_rotation(key: jax.Array, channels: int) -> Float[jax.Array, "{channels} {channels}"]:
    """A rotation drawn from the Haar measure on SO(channels).

    The QR factor of a Gaussian matrix is Haar on O(n) once the signs of R's diagonal are moved into Q
    (Mezzadri, 2007); flipping one row where the determinant is −1 leaves Haar on SO(n).

    Returns:
      float32 `[channels, channels]`, orthogonal, determinant +1.
    """
    q, r = jnp.linalg.qr(jax.random.normal(key, (channels, channels)))
    q = q * jnp.sign(jnp.diagonal(r))[None, :]
    sign = jnp.linalg.slogdet(q)[0]
    return q.at[0].multiply(sign)


def random_rotations(
    key: jax.Array, count: int, channels: int
) -> Float[jax.Array, "{count} {channels} {channels}"]:
    """`count` independent rotations, `[count, channels, channels]`."""
    return jax.lax.map(lambda k: random_rotation(k, channels), jax.random.split(key, count))
