"""A coreset of vectors: few that lie near all of them (k-centre, greedily; Sener & Savarese 2018).

PatchCore (Roth et al. 2022, section 3.2, algorithm 1) keeps so the vectors of good images that it compares
with. Distances are taken between random projections (Johnson-Lindenstrauss), which keep them well enough.

The greedy choice is exact, and yet looks at all vectors only a few dozen times: distances to the nearest
chosen vector only ever shrink, so while the farthest of a shortlist is farther than any vector outside it
was, it is the farthest of all.
"""

import functools

import jax
import jax.numpy as jnp

from hgad_jax.precision import EXACT

_SHORTLIST = 4096
_AT_ONCE = 256  # at most so many are chosen from one shortlist
_BLOCK = 1 << 13  # vectors whose distances to those are in memory together


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

    def extend(state):
        chosen, number, nearest = state
        new, found = _from_shortlist(vectors, norms, nearest, count - number)
        kept = jnp.where(jnp.arange(_AT_ONCE) < found, new, first)  # the rest is written over, or cut off
        chosen = jax.lax.dynamic_update_slice(chosen, kept, (number,))
        return chosen, number + found, _nearest(vectors, norms, nearest, new, found)

    farthest = jnp.where(valid, jnp.inf, -jnp.inf)
    start = _nearest(vectors, norms, farthest, first[None], 1)
    chosen = jnp.full(count + _AT_ONCE, first)
    return jax.lax.while_loop(lambda state: state[1] < count, extend, (chosen, 1, start))[0][:count]


def _from_shortlist(vectors, norms, nearest, most) -> tuple[jax.Array, jax.Array]:
    """The next vectors, `[_AT_ONCE]` indices, and how many of them count: one or more, at most `most`."""
    size = min(_SHORTLIST, len(nearest))
    distances, listed = jax.lax.top_k(nearest, size)
    outside = distances[-1] if size < len(nearest) else -jnp.inf
    own, own_norms = vectors[listed], norms[listed]

    def goes_on(state):
        _, found, distances = state
        return (found == 0) | ((found < jnp.minimum(_AT_ONCE, most)) & (distances.max() > outside))

    def choose(state):
        new, found, distances = state
        at = jnp.argmax(distances)
        products = jnp.matmul(own, own[at], precision=EXACT)
        distances = jnp.minimum(distances, own_norms - 2 * products + own_norms[at])
        return new.at[found].set(listed[at]), found + 1, distances

    start = jnp.zeros(_AT_ONCE, jnp.int32), jnp.int32(0), distances
    return jax.lax.while_loop(goes_on, choose, start)[:2]


def _nearest(vectors, norms, nearest, new, found) -> jax.Array:
    """Squared distances `[N]` to the nearest chosen vector, the first `found` of `new` being chosen too."""
    centres = vectors[new]
    squares = jnp.where(jnp.arange(len(new)) < found, norms[new], jnp.inf)

    def of_vector(one):
        vector, norm, before = one
        to_new = norm + jnp.min(squares - 2 * jnp.matmul(centres, vector, precision=EXACT))
        return jnp.minimum(before, to_new)

    return jax.lax.map(of_vector, (vectors, norms, nearest), batch_size=min(_BLOCK, len(vectors)))
