"""The 2-D position code that conditions every coupling (HGAD, CFLOW-AD: section "positional encoding")."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hgad_jax.flows.grid import Grid
from hgad_jax.flows.linear import dense
from hgad_jax.types import Array


class AxisCodes(NamedTuple):
    """The position code of a map, one half per axis.

    The code of position (y, x) is the concatenation `[columns[x], rows[y]]`: its first half depends on
    the column alone, its second on the row alone. Kept apart, a linear projection of all h·w codes costs
    h + w products instead of h·w.
    """

    columns: jax.Array  # [w, P/2]
    rows: jax.Array  # [h, P/2]


def sinusoids(length: int, channels: int) -> Float[np.ndarray, "{length} {channels}"]:
    """Sines in even and cosines in odd channels of the integer positions 0 … length − 1.

    Frequency i is 10000^(−2i/channels), so that `channels` is half of the whole code's width.

    Returns:
      float32 `[length, channels]`.
    """
    angles = np.arange(length)[:, None] * _frequencies(channels)[None, :]
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, channels).astype(np.float32)


def _frequencies(channels: int) -> np.ndarray:
    return 10_000.0 ** (-np.arange(0, channels, 2) / channels)


def axis_codes(height: int, width: int, channels: int) -> AxisCodes:
    """The position code of a height × width map, `channels` wide (a multiple of four)."""
    if channels % 4:
        raise ValueError(f"A 2-D position code has a multiple of 4 channels, got {channels}.")
    half = channels // 2
    return AxisCodes(jnp.asarray(sinusoids(width, half)), jnp.asarray(sinusoids(height, half)))


def grid_codes(grid: Grid, channels: int) -> AxisCodes:
    """The position code of a grid's positions, which may be known at run time only."""

    def codes(lines):
        angles = lines[:, None].astype(jnp.float32) * _frequencies(channels // 2)[None, :].astype(np.float32)
        return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(len(lines), channels // 2)

    return AxisCodes(codes(grid.columns), codes(grid.rows))


def position_map(codes: AxisCodes) -> Float[jax.Array, "h w P"]:
    """The whole code `[h, w, P]`, as papers write it."""
    h, w, half = codes.rows.shape[0], codes.columns.shape[0], codes.rows.shape[1]
    columns = jnp.broadcast_to(codes.columns[None, :, :], (h, w, half))
    rows = jnp.broadcast_to(codes.rows[:, None, :], (h, w, half))
    return jnp.concatenate([columns, rows], axis=-1)


def project(codes: AxisCodes, kernel: Float[Array, "P D"]) -> Float[jax.Array, "h w D"]:
    """`position_map(codes) @ kernel`, with h + w products instead of h·w.

    Args:
      codes: position code of `[h, w, P]`.
      kernel: `[P, D]`.

    Returns:
      `[h, w, D]`.
    """
    half = codes.rows.shape[1]
    columns = codes.columns @ kernel[:half]
    rows = codes.rows @ kernel[half:]
    return columns[None, :, :] + rows[:, None, :]


def axis_hot(positions: Int[Array, " N"], height: int, width: int) -> Float[jax.Array, "N {width}+{height}"]:
    """Columns and rows of positions, as two ones among zeros.

    Args:
      positions: y · width + x, `[N]` integers.
      height: of the map.
      width: of the map.

    Returns:
      float32 `[N, width + height]`.
    """
    columns = jax.nn.one_hot(positions % width, width)
    rows = jax.nn.one_hot(positions // width, height)
    return jnp.concatenate([columns, rows], axis=-1)


def axis_table(
    codes: AxisCodes, kernel: Float[Array, "P D"], bias: Float[Array, " D"]
) -> Float[jax.Array, "T D"]:
    """What `axis_hot(p, h, w)` is to be multiplied with to project the code of position p and add a bias.

    For vectors that come from anywhere on a map: the product has w + h terms instead of P, and its gradient
    is a product too, where that of a gather would be a scatter, slow on a CPU.

    Args:
      codes: position code of `[h, w, P]`.
      kernel: `[P, D]`.
      bias: `[D]`.

    Returns:
      `[w + h, D]`.
    """
    half = codes.rows.shape[1]
    columns = dense(codes.columns, kernel[:half], bias)  # every position has one column
    return jnp.concatenate([columns, codes.rows @ kernel[half:]], axis=0)
