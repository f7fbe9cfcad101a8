"""Feature levels of an image: taps of one pass, or of passes at several input scales."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hgad_jax import backbones
from hgad_jax.backbones.adapt import adapt, sides_of_levels
from hgad_jax.resize import resize_aligned


class Levels(NamedTuple):
    """A frozen extractor of feature levels."""

    sizes: tuple[tuple[int, int, int], ...]  # (h, w, C) of each level
    weights_hash: str  # names the backbone, its weights, its dtype and what is done to its maps
    backbone_hash: str  # of its weights alone: SHA-256 of their file, or "random:<seed>"
    variables: Any  # the backbone's parameters, passed to `apply`
    apply: Callable  # (variables, uint8 [B, S·d, S·d, 3]) → tuple of float32 [B, h, w, C]; jitted
    names: tuple[str, ...]  # of each level, as "blocks.4 of 256 px"
    detailed: int  # so many of the levels, the last ones, are of the image in detail

    @property
    def coarse(self) -> slice:
        """The other levels."""
        return slice(0, len(self.sizes) - self.detailed)


def feature_levels(
    name: str,
    *,
    taps: Sequence[str],
    scales: Sequence[int],
    image_size: int,
    source: str = "auto",
    dtype: str = "float32",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    equalize: float = 0.0,
    neighbours: Sequence[int] = (),
    detail: int = 1,
    detailed: Sequence[str] = (),
) -> Levels:
    """The levels of square images, scale by scale, and within a scale tap by tap; then those in detail.

    Args:
      name: backbone.
      taps: of the backbone, highest resolution first; none: those that the catalogue has for it.
      scales: divisors of the image's side; HGAD takes one tap at scales 1, 2 and 4. Images are made
        smaller bilinearly with corners aligned and no smoothing, as the published code does.
      image_size: side of the images in pixels, S.
      source: of the weights, see `backbones.load`.
      dtype: in which the backbone computes, "float32" or "bfloat16"; levels are float32 all the same.
      mean: of each colour, on a scale from 0 to 1, that images are normalised by; none: the backbone's own.
      std: likewise.
      equalize: floor of `adapt.equalize`; 0: maps are as the backbone gives them.
      neighbours: of each level, the side of the square of positions that are averaged; those after the last
        one: 1.
      detail: images come with so many times as many pixels a side, d. Levels of the scales see them brought
        to S×S by the mean of each d×d pixels.
      detailed: taps of a further pass over all pixels, whose maps stay as the backbone gives them.

    Raises:
      UserError: of a backbone or tap that is not known, or more `neighbours` than levels.
    """
    taps = tuple(taps) or backbones.choose(name).entry.taps
    scaled = {key: _scaled(*values) for key, values in (("mean", mean), ("std", std)) if values}
    detailed = tuple(detailed)
    every = (*taps, *(tap for tap in detailed if tap not in taps))
    backbone = backbones.load(
        name, taps=every, source=source, dtype=dtype, mean=scaled.get("mean"), std=scaled.get("std")
    )

    def maps(variables, images):
        return dict(zip(every, backbone.apply(variables, images), strict=True))

    def apply(variables, images):
        coarse, levels = shrunk(images, detail), []
        # One pass for both where the detail is that of the levels.
        whole = maps(variables, images) if detailed or (detail == 1 and 1 in scales) else {}
        for scale in scales:
            side = image_size // scale
            scaled = coarse if scale == 1 else resize_aligned(coarse.astype(jnp.float32), side, side)
            of_tap = whole if scale == detail == 1 else maps(variables, scaled)
            levels += [of_tap[tap] for tap in taps]
        sides = sides_of_levels(neighbours, len(levels))
        adapted = (adapt(x, floor=equalize, side=side) for x, side in zip(levels, sides, strict=True))
        return (*adapted, *(whole[tap] for tap in detailed))

    image = jax.ShapeDtypeStruct((1, detail * image_size, detail * image_size, 3), jnp.uint8)
    shapes = jax.eval_shape(apply, backbone.variables, image)
    sizes = tuple(s.shape[1:] for s in shapes)
    # Features depend on the dtype too, and on the normalisation, which belongs to the name if not given.
    changes = scaled | ({"equalize": equalize} if equalize else {})
    changes |= {"neighbours": tuple(neighbours)} if neighbours else {}
    changes |= {"detailed": detailed} if detailed else {}
    identity = ":".join([name, backbone.weights_hash, dtype, *(f"{k}={v}" for k, v in changes.items())])
    seen = [(tap, image_size // scale) for scale in scales for tap in taps]
    seen += [(tap, detail * image_size) for tap in detailed]
    return Levels(
        sizes,
        identity,
        backbone.weights_hash,
        backbone.variables,
        jax.jit(apply),
        tuple(f"{tap} of {side} px" for tap, side in seen),
        len(detailed),
    )


def shrunk(images: jax.Array, factor: int) -> jax.Array:
    """The mean of each square of `factor` pixels a side: `[B, S·factor, S·factor, 3]` → `[B, S, S, 3]`."""
    if factor == 1:
        return images
    batch, height, width, colours = images.shape
    cells = images.reshape(batch, height // factor, factor, width // factor, factor, colours)
    return cells.astype(jnp.float32).mean((2, 4))


def _scaled(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """From a scale from 0 to 1 to that of the images."""
    return 255.0 * red, 255.0 * green, 255.0 * blue
