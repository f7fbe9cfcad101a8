"""3 × 3 convolutions at stride 1 by Winograd's F(2 × 2, 3 × 3): 16 products for 4 outputs instead of 36.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, equations 8 to 11. Written as
sixteen plain matrix products, each over all tiles of 2 × 2 outputs, it is about 1.5 times as fast on a CPU
as the convolution, whose products run at the processor's limit already. Its sums are of other terms, so that
results differ by rounding: 1e-6 of the largest.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax

from hgad_jax.backbones.depthwise import Padding
from hgad_jax.backbones.weights import flat_params
from hgad_jax.precision import EXACT

COLLECTION = "winograd"  # of a network's variables: the kernels made ready

_LEAST_CHANNELS = 64  # below, the transformations cost more than they save

_OF_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_OF_KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OF_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def with_ready_kernels(variables: dict[str, Any]) -> dict[str, Any]:
    """A network's variables and, in a collection of its own, the kernels that are worth it, made ready."""
    params = flat_params(variables["params"])
    ready = {path: ready_kernel(kernel) for path, kernel in params.items() if _is_worth_it(path[-1], kernel)}
    return variables | {COLLECTION: traverse_util.unflatten_dict(ready)} if ready else variables


def _is_worth_it(name: str, kernel: jax.Array) -> bool:
    wide = kernel.ndim == 4 and kernel.shape[:2] == (3, 3) and min(kernel.shape[2:]) >= _LEAST_CHANNELS
    return name == "kernel" and wide and kernel.dtype == jnp.float32


def ready_kernel(kernel: jax.Array) -> jax.Array:
    """[3, 3, I, O] -> [4, 4, I, O]."""
    return jnp.stack([jnp.stack(row) for row in _both(_OF_KERNEL, [list(row) for row in kernel])])


def convolve(x: jax.Array, ready: jax.Array, *, padding: Padding) -> jax.Array:
    """What the convolution at stride 1 gives.

    Args:
      x: `[B, H, W, I]` float32.
      ready: `ready_kernel` of the kernel, `[4, 4, I, O]`.
      padding: ((top, bottom), (left, right)) zeros.

    Returns:
      `[B, h, w, O]`, h = H + top + bottom − 2.
    """
    height, width = (n + sum(pad) - 2 for n, pad in zip(x.shape[1:3], padding, strict=True))
    rows, columns = -(-height // 2), -(-width // 2)  # of tiles
    (top, bottom), (left, right) = padding
    x = jnp.pad(x, ((0, 0), (top, bottom + height % 2), (left, right + width % 2), (0, 0)))

    def every_second(i, j):
        return x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]

    tiles = _both(_OF_INPUT, [[every_second(i, j) for j in range(4)] for i in range(4)])

    def product(i, j):
        # Stored once: otherwise each sum is made anew where the product wants it.
        flat = lax.optimization_barrier(tiles[i][j].reshape(-1, x.shape[-1]))
        made = jnp.matmul(flat, ready[i, j], precision=EXACT)
        return made.reshape(len(x), rows, columns, -1)

    products = [[product(i, j) for j in range(4)] for i in range(4)]
    (a, b), (c, d) = _both(_OF_OUTPUT, products)
    together = jnp.stack([jnp.stack([a, b], 3), jnp.stack([c, d], 3)], 2)  # [B, rows, 2, columns, 2, O]
    return together.reshape(len(x), 2 * rows, 2 * columns, -1)[:, :height, :width]


def _both(matrix: Sequence[Sequence[float]], parts: list[list[jax.Array]]) -> list[list[jax.Array]]:
    """matrix @ parts @ matrix.T for a square of arrays, as sums of these."""
    sums = [[_sum(row, column) for column in zip(*parts, strict=True)] for row in matrix]
    return [[_sum(row, line) for row in matrix] for line in sums]


def _sum(factors: Sequence[float], terms: Sequence[jax.Array]) -> jax.Array:
    used = [(factor, term) for factor, term in zip(factors, terms, strict=True) if factor]
    (first, total), *rest = used
    total = total if first == 1 else first * total
    for factor, term in rest:
        total = total + term if factor == 1 else total - term if factor == -1 else total + factor * term
    return total
