"""Bilinear resizing with aligned corners, which `jax.image.resize` does not offer.

The published codes of HGAD and CFLOW-AD resize so that the centres of the corner pixels stay where they
are (PyTorch's `align_corners=True`), without smoothing when shrinking.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hgad_jax.precision import EXACT
from hgad_jax.types import Array


@functools.cache
def _weights(source: int, target: int) -> np.ndarray:
    """`[target, source]` rows of linear interpolation weights; each row sums to one."""
    position = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    low = np.minimum(np.floor(position).astype(int), max(source - 2, 0))
    weights = np.zeros((target, source))
    fraction = position - low
    weights[np.arange(target), low] += 1 - fraction
    weights[np.arange(target), np.minimum(low + 1, source - 1)] += fraction
    return weights.astype(np.float32)


def resize_aligned(
    images: Float[Array, "B h w C"], height: int, width: int
) -> Float[jax.Array, "B height width C"]:
    """Resizes `[B, h, w, C]` to `[B, height, width, C]`, corners aligned."""
    _, h, w, _ = images.shape
    if (h, w) == (height, width):
        return jnp.asarray(images)
    rows = jnp.asarray(_weights(h, height))
    columns = jnp.asarray(_weights(w, width))
    return jnp.einsum("yh,bhwc,xw->byxc", rows, images, columns, precision=EXACT)
