"""From the evidence on an image to its scores: one function for calibration, evaluation and prediction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hgad_jax.resize import resize_aligned
from hgad_jax.scoring.combination import COMBINATIONS, by_level, by_position
from hgad_jax.scoring.constants import Constants, TermConstants
from hgad_jax.scoring.evidence import IMAGE_SCORES, OF_MAP, Piece, pieces_of
from hgad_jax.scoring.maps import image_score, inside, quantile, smooth
from hgad_jax.scoring.scored import Scores
from hgad_jax.types import Array

__all__ = ["Scores", "Tiling", "blend", "combine", "piece_scores", "strangeness"]


class Tiling(NamedTuple):
    """How the tiles of an image lie in its working square of W×W pixels.

    Attributes:
      side: W.
      corners: top and left of each tile, pixels.
      window: weights `[S, S]` of a tile's pixels where tiles overlap.
    """

    side: int
    corners: tuple[tuple[int, int], ...]
    window: np.ndarray


def combine(
    log_likelihood: Sequence[Float[Array, "T _ _"]],
    negative_entropy: Sequence[Float[Array, "T _ _"]],
    constants: Constants,
    boxes: Int[Array, "B 4"],
    *,
    tiling: Tiling,
    scoring: Any,
    banks: int = 0,
) -> Scores:
    """Scores of images.

    Args:
      log_likelihood: per level `[B·tiles, h, w]`, nats per dimension; an image's tiles follow each other.
      negative_entropy: likewise, nats.
      constants: for each tile, as `constants.of_classes` gives them; first axis B·tiles.
      boxes: `[B, 4]`, top, left, height and width of the image in the working square; other pixels of it
        do not count.
      tiling: of every image; a single tile is the working square itself.
      scoring: the config's section; `image_score`, `evidence`, `image_map`, `pixel_map`, `top_fraction`,
        `sigma` and `ordinary_fraction` are read.
      banks: how many of the levels, the last ones, are of a bank, which has no say in strangeness: details
        are like good ones in other products too.
    """

    def maps(name):
        size = tiling.window.shape[0]
        tiles = COMBINATIONS[name](log_likelihood, negative_entropy, constants, size)
        return smooth(blend(tiles, tiling), scoring.sigma)

    seen = inside(boxes, tiling.side)
    for_pixels = maps(scoring.pixel_map)
    if scoring.image_score == OF_MAP:
        for_image = for_pixels if scoring.pixel_map == scoring.image_map else maps(scoring.image_map)
        image, pieces = image_score(for_image, scoring.top_fraction, seen), jnp.zeros((len(boxes), 0))
    else:
        own = jax.tree.map(lambda array: array[:: len(tiling.corners)], constants.image)
        pieces = piece_scores(log_likelihood, constants, seen, tiling, scoring) - own.mean
        pieces = pieces / own.deviation
        image = IMAGE_SCORES[scoring.image_score](pieces)
    number = len(log_likelihood) - banks
    own_levels = log_likelihood[:number]
    own_constants = constants._replace(
        log_likelihood=TermConstants(*(part[:number] for part in constants.log_likelihood))
    )
    return Scores(
        image=image,
        maps=for_pixels,
        strangeness=strangeness(own_levels, own_constants, seen, tiling, scoring.ordinary_fraction),
        pieces=pieces,
    )


def piece_scores(
    log_likelihood: Sequence[Float[Array, "T _ _"]],
    constants: Constants,
    seen: Bool[Array, "B W W"],
    tiling: Tiling,
    scoring: Any,
) -> Float[jax.Array, "B P"]:
    """The image score of each piece of evidence, at the positions of its finest level: `[B, P]`.

    Args:
      log_likelihood: per level `[B·tiles, h, w]`.
      constants: for each tile.
      seen: bool `[B, W, W]`, pixels that show image.
      tiling: of every image.
      scoring: the config's section; `image_score`, `evidence` and `top_fraction` are read.
    """
    levels = {
        False: by_level(log_likelihood, constants.log_likelihood),
        True: by_position(log_likelihood, constants.log_likelihood),
    }

    def score(piece: Piece) -> jax.Array:
        maps = [levels[piece.by_position][i] for i in piece.levels]
        finest = max(maps, key=lambda level: level.shape[1])
        others = (m for m in maps if m is not finest)
        total = finest + sum(resize_aligned(m[..., None], *finest.shape[1:])[..., 0] for m in others)
        counted = _counted(seen, tiling, total.shape[1:])
        return image_score(total.reshape(len(seen), 1, -1), scoring.top_fraction, counted[:, None])

    return jnp.stack([score(piece) for piece in pieces_of(scoring, len(log_likelihood))], -1)


def strangeness(
    log_likelihood: Sequence[Float[Array, "T _ _"]],
    constants: Constants,
    seen: Bool[Array, "B W W"],
    tiling: Tiling,
    fraction: float,
) -> Float[jax.Array, " B"]:
    """How far even the most ordinary part of each image is from good ones of its class: `[B]`.

    A defect leaves some of the image, or some of the levels, as they are. Another product is unlike the class
    everywhere: at every level, so that the lowest level counts, and at all but this fraction of positions.

    Args:
      log_likelihood: per level `[B·tiles, h, w]`.
      constants: for each tile.
      seen: bool `[B, W, W]`, pixels that show image.
      tiling: of every image.
      fraction: of positions.
    """
    levels = by_position(log_likelihood, constants.log_likelihood)

    def ordinary(level):
        counted = _counted(seen, tiling, level.shape[1:])
        return quantile(level.reshape(counted.shape), fraction, counted)

    return jnp.stack([ordinary(level) for level in levels]).min(0)


def _counted(seen: Array, tiling: Tiling, shape: tuple[int, ...]) -> jax.Array:
    """Which positions of maps of this shape show image, those of all tiles of an image in a row: `[B, N]`."""
    size = tiling.window.shape[0]
    tiles = jnp.stack([seen[:, top : top + size, left : left + size] for top, left in tiling.corners], 1)
    rows, columns = (((np.arange(n) + 0.5) * size / n).astype(int) for n in shape)
    counted = tiles[:, :, rows][:, :, :, columns].reshape(len(seen), -1)
    # A tile or a narrow image may have no position's centre in it: then all positions count.
    return counted | ~counted.any(-1, keepdims=True)


def blend(maps: Float[Array, "T S S"], tiling: Tiling) -> Float[jax.Array, "B W W"]:
    """Maps of tiles `[B·tiles, S, S]` → `[B, W, W]`, averaged by weight where they overlap."""
    if len(tiling.corners) == 1:
        return jnp.asarray(maps)
    size, side = maps.shape[-1], tiling.side
    maps = maps.reshape(-1, len(tiling.corners), size, size)
    window = jnp.asarray(tiling.window, jnp.float32)
    total, weight = jnp.zeros((len(maps), side, side)), jnp.zeros((side, side))
    for k, (top, left) in enumerate(tiling.corners):
        place = slice(top, top + size), slice(left, left + size)
        total = total.at[:, *place].add(maps[:, k] * jnp.broadcast_to(window, maps[:, k].shape))
        weight = weight.at[place].add(window)
    return total / jnp.broadcast_to(weight, total.shape)
