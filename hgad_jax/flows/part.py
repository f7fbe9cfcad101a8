"""What a flow is: a value that holds pure functions over the features of one level."""

from typing import Any, NamedTuple, Protocol

import jax

from hgad_jax.flows.grid import Grid

Size = tuple[int, int, int]  # h, w, C of a level's maps


class Init(Protocol):
    """How an array of a flow starts."""

    def __call__(self, key: jax.Array, size: Size, /) -> Any:
        """(key, size of the maps) → a pytree: what is trained, or what is drawn once and fixed."""
        ...


class Transform(Protocol):
    """One way through a flow."""

    def __call__(self, params: Any, fixed: Any, x: jax.Array, /) -> tuple[jax.Array, jax.Array]:
        """(parameters, what is fixed, maps `[B, h, w, C]`) → maps, and log|det| `[B, h, w]`.

        Where positions depend on each other, a position has a share of it, and the sum is that of the whole.
        """
        ...


class Carry(Protocol):
    """Where a flow that is not trained yet takes single points."""

    def __call__(self, fixed: Any, points: jax.Array, /) -> jax.Array:
        """(what is fixed, points `[K, C]`) → where the flow takes them before it is trained, `[K, C]`."""
        ...


class At(Protocol):
    """What can be done once for a place."""

    def __call__(self, params: Any, place: tuple[int, int] | Grid, /) -> Any:
        """(parameters, place) → parameters ready for maps of that place: all that depends on these two alone.

        A place is (h, w), the size of whole maps, or the `Grid` of the positions that the maps are of.
        """
        ...


class VectorTransform(Protocol):
    """A way through a flow for vectors taken out of their maps."""

    def __call__(
        self, params: Any, fixed: Any, x: jax.Array, positions: jax.Array, size: tuple[int, int], /
    ) -> tuple[jax.Array, jax.Array]:
        """`Transform` for vectors `[N, C]` of positions y · w + x `[N]` of maps of size (h, w)."""
        ...


class Flow(NamedTuple):
    """A flow of the features of one level: features ↔ latents, with log-determinants.

    Attributes:
      init: → parameters, a pytree with at least one array: a checkpoint cannot hold nothing.
      draw: → what is fixed (rotations, permutations), a pytree, possibly without any array.
      forward: features → latents. It takes parameters, or what `at` has made of them.
      inverse: latents → features; None for a flow that cannot be inverted.
      carry: where the flow takes the centres of classes before it is trained, so that a base distribution
        may start there; the points as they are where nothing is known.
      at: None for a flow that needs whole maps, because a position's latents depend on its neighbours.
      forward_vectors: None for a flow that cannot take vectors out of their maps.
    """

    init: Init
    draw: Init
    forward: Transform
    inverse: Transform | None
    carry: Carry
    at: At | None = None
    forward_vectors: VectorTransform | None = None
