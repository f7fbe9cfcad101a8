"""The fixed first layer of a level, as the detectors' keys describe it (`flows.conditioning`)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from hgad_jax.flows.conditioning import Affine, apply_affine, at_positions, fit_affine, identity_affine
from hgad_jax.flows.grid import Grid
from hgad_jax.types import Array, abstract_array


class FirstLayer(NamedTuple):
    """Keys of `config.detector`, explained in its defaults, and the number of classes."""

    num_classes: int
    conditioning: str
    per_class: bool
    regions: int
    shrinkage: float

    @property
    def grouped(self) -> bool:
        """Whether the layer depends on the class."""
        return self.per_class and self.conditioning != "none"


def fit(keys: FirstLayer, batches, offsets=None) -> Affine:
    """Fits the layer of one level; `batches` and `offsets` as in `fit_affine`."""
    if keys.conditioning == "none":
        return identity_affine(next(iter(batches()))[0].shape[-1])
    return fit_affine(
        batches,
        keys.num_classes,
        kind=keys.conditioning,
        per_class=keys.grouped,
        regions=keys.regions,
        shrinkage=keys.shrinkage,
        offsets=offsets,
    )


def abstract(keys: FirstLayer, size: tuple[int, int, int]) -> Affine:
    """Shapes and dtypes of what `fit` gives for maps of size (h, w, C)."""
    h, w, channels = size
    if keys.conditioning == "none":
        return jax.eval_shape(lambda: identity_affine(channels))
    groups = keys.num_classes if keys.grouped else 1
    h, w = (h, w) if keys.regions else (1, 1)
    count = min(max(keys.regions, 1), h * w)

    return Affine(
        mean=abstract_array(groups, h, w, channels),
        matrix=abstract_array(groups, count, channels, channels),
        regions=abstract_array(groups, h, w, dtype=np.int32),
        offset=abstract_array(groups, channels),
        log_det=abstract_array(groups, count),
    )


def apply(
    keys: FirstLayer, layer: Affine, features: Float[Array, "B h w C"], class_ids: Int[Array, " B"]
) -> tuple[Float[Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Features `[B, h, w, C]`, class ids `[B]` → z and log|det dz/dx| `[B, h, w]`."""
    if keys.conditioning == "none":  # a product with the identity is a product
        return features, jnp.zeros(features.shape[:-1], features.dtype)
    groups = class_ids if keys.grouped else jnp.zeros_like(class_ids)
    return apply_affine(layer, features, groups)


def apply_levels(
    keys: FirstLayer,
    layers: Sequence[Affine],
    features: Sequence[Float[Array, "B _ _ _"]],
    class_ids: Int[Array, " B"],
    grids: Sequence[Grid] | None = None,
) -> tuple[tuple[Float[Array, "B _ _ _"], Float[jax.Array, "B _ _"]], ...]:
    """`apply` level by level; with a grid for each, the features are those of its positions."""
    if grids is not None:
        layers = list(map(at_positions, layers, grids))
    return tuple(apply(keys, layer, x, class_ids) for layer, x in zip(layers, features, strict=True))
