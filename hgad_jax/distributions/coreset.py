"""A coreset of vectors: few that lie near all of them (k-centre, greedily; Sener & Savarese 2018).

PatchCore (Roth et al. 2022, section 3.2, algorithm 1) keeps so the vectors of good images that it compares
with. Distances are taken between random projections (Johnson-Lindenstrauss), which keep them well enough.
"""

import functools

import jax
import jax.numpy as jnp

from hgad_jax.precision import EXACT


@functools.partial(jax.jit, static_argnames=("count", "dimensions"))
def coreset(
    key: jax.Array, vectors: jax.Array, valid: jax.Array, *, count: int, dimensions: int
) -> jax.Array:
    """Chooses vectors one after the other, each the farthest from those chosen so far.

    Args:
      key: of the first vector and the projection.
      vectors: `[N, C]` float32.
      valid: bool `[N]`, those that may be chosen; at least one.
      count: how many are chosen, M.
      dimensions: that distances are taken in; 0, or C and more: nothing is projected.

    Returns:
      int32 `[M]`, indices in the order of choice; where there are fewer different vectors, the rest repeat.
    """
    first_key, projection_key = jax.random.split(key)
    channels = vectors.shape[-1]
    if 0 < dimensions < channels:
        projection = jax.random.normal(projection_key, (channels, dimensions)) / dimensions**0.5
        vectors = jnp.matmul(vectors, projection, precision=EXACT)
    first = jnp.argmax(jax.random.uniform(first_key, valid.shape) * valid).astype(jnp.int32)
    norms = jnp.sum(vectors**2, -1)

    def choose(i, state):
        chosen, nearest = state
        newest = chosen[i - 1]
        products = jnp.matmul(vectors, vectors[newest], precision=EXACT)
        nearest = jnp.minimum(nearest, norms - 2 * products + norms[newest])
        return chosen.at[i].set(jnp.argmax(nearest).astype(jnp.int32)), nearest

    farthest = jnp.where(valid, jnp.inf, -jnp.inf)
    return jax.lax.fori_loop(1, count, choose, (jnp.full(count, first), farthest))[0]
