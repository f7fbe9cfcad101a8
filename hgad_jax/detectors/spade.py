"""SPADE (Cohen & Hoshen, 2020): distances to the nearest features of good images, kept as a gallery.

An image is compared with the K training images whose mean features of the last level are nearest to its
own; each of its positions with the κ nearest of all positions of those images. Features of all levels are
compared side by side, which is the sum of the squared distances of the levels: the coarse ones are computed
at their own size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax.detectors import class_finder, fitted
from hgad_jax.detectors.detector import Detector, Evidence
from hgad_jax.errors import UserError
from hgad_jax.precision import EXACT
from hgad_jax.scoring.published import DISTANCE
from hgad_jax.types import Array, abstract_array


class SPADEConstants(NamedTuple):
    """The gallery of M images; those past the number of training images are empty."""

    levels: tuple[jax.Array, ...]  # [M, h, w, C]
    means: jax.Array  # [M, C], of the last level over positions
    class_ids: jax.Array  # [M] int32; −1: empty


def spade(*, num_classes: int, gallery: int, neighbours: int, pixel_neighbours: int) -> Detector:
    """The SPADE detector. Hyper-parameters are the keys of `config.detector` in `hgad_jax/config/spade.py`.

    Its map is minus the mean distance to the κ nearest positions, its `class_log_prob` minus the mean
    distance of the image to the K nearest of each class.
    """

    def init(key, batches):
        return fitted.init_params(), _fit(key, batches, gallery, num_classes)

    def abstract(sizes):
        levels = tuple(abstract_array(gallery, *size) for size in sizes)
        means, class_ids = abstract_array(gallery, sizes[-1][-1]), abstract_array(gallery, dtype=np.int32)
        return jax.eval_shape(fitted.init_params), SPADEConstants(levels, means, class_ids)

    def evidence(params, constants, features, class_ids=None, *, mix_classes=False):
        del params
        class_finder.refuse_mixture(mix_classes)
        distances = jnp.sqrt(_squared_distances(features[-1].mean((1, 2)), constants.means))  # [B, M]
        nearest = [_nearest(distances, constants.class_ids, k, neighbours) for k in range(num_classes)]
        class_log_prob = -jnp.stack([_finite_mean(d) for d, _ in nearest], -1)
        class_ids = (jnp.argmax(class_log_prob, -1) if class_ids is None else class_ids).astype(jnp.int32)
        every = jnp.stack([i for _, i in nearest], 1)  # [B, K, neighbours], −1 where there are fewer
        chosen = jnp.take_along_axis(every, class_ids[:, None, None], 1)[:, 0]

        def of_image(arguments):
            levels, indices = arguments
            return _pixel_distances(levels, constants.levels, indices, pixel_neighbours)

        maps = -jax.lax.map(of_image, (features, chosen))
        return Evidence((maps,), (jnp.zeros_like(maps),), class_log_prob, class_ids)

    return Detector(init, abstract, fitted.prepare, fitted.loss, evidence, DISTANCE, fitted=True)


def _fit(key, batches, capacity: int, num_classes: int) -> SPADEConstants:
    labels = np.concatenate([labels for _, labels in batches[0]()])
    missing = np.setdiff1d(np.arange(num_classes), labels)
    if len(missing):
        raise UserError(f"SPADE needs training images of each class, found none of {missing.tolist()}.")
    kept = np.sort(np.asarray(jax.random.permutation(key, len(labels)))[:capacity])
    class_ids = np.full(capacity, -1, np.int32)
    class_ids[: len(kept)] = labels[kept]
    absent = np.setdiff1d(np.arange(num_classes), class_ids)
    if len(absent):
        raise UserError(
            f"config.detector.gallery is {capacity}, too few for {len(labels)} images of {num_classes} "
            f"classes: none is kept of {absent.tolist()}. Raise it."
        )
    levels = tuple(_gather(level, kept, capacity) for level in batches)
    means = levels[-1].mean((1, 2))
    return SPADEConstants(tuple(map(jnp.asarray, levels)), jnp.asarray(means), jnp.asarray(class_ids))


def _gather(batches, kept: np.ndarray, capacity: int) -> np.ndarray:
    """The kept images of one level `[capacity, h, w, C]`, in one pass."""
    result, start = np.zeros(0, np.float32), 0
    for features, _ in batches():
        if not start:
            result = np.zeros((capacity, *features.shape[1:]), np.float32)
        inside = (kept >= start) & (kept < start + len(features))
        result[np.flatnonzero(inside)] = features[kept[inside] - start]
        start += len(features)
    return result


def _squared_distances(x: Array, y: Array) -> jax.Array:
    """Between all rows: `[N, C]` and `[M, C]` → `[N, M]`."""
    products = jnp.matmul(x, y.T, precision=EXACT)
    norms = jnp.sum(x**2, -1)[:, None] + jnp.broadcast_to(jnp.sum(y**2, -1), products.shape)
    return jnp.maximum(norms - 2 * products, 0)


def _nearest(distances, gallery_ids, class_id: int, count: int) -> tuple[jax.Array, jax.Array]:
    """Distances and indices `[B, count]` of the nearest of a class; infinity and −1 where it has fewer."""
    own = jnp.broadcast_to(gallery_ids == class_id, distances.shape)
    negative, indices = jax.lax.top_k(jnp.where(own, -distances, -jnp.inf), min(count, distances.shape[1]))
    return -negative, jnp.where(jnp.isinf(negative), -1, indices)


def _finite_mean(distances: jax.Array) -> jax.Array:
    finite = jnp.isfinite(distances)
    return jnp.sum(jnp.where(finite, distances, 0.0), -1) / finite.sum(-1)


def _pixel_distances(levels, gallery, indices, count: int) -> jax.Array:
    """Mean distance of each position to its nearest in some images of the gallery.

    Args:
      levels: of one image, `[h, w, C]` each.
      gallery: `[M, h, w, C]` each.
      indices: of images of the gallery, `[neighbours]`; negative ones are skipped.
      count: κ, how many positions are averaged over.

    Returns:
      `[H, W]`, of the first level.
    """
    height, width = levels[0].shape[:2]
    places = [_coarse_positions(level.shape, height, width) for level in levels]
    rows = [level.reshape(-1, level.shape[-1]) for level in levels]

    def squared(index):
        total = 0.0
        for x, images, place in zip(rows, gallery, places, strict=True):
            own = _squared_distances(x, images[index].reshape(-1, x.shape[-1]))
            total = total + own[place][:, place]
        return total

    def merge(best, index):
        found = jnp.where(index < 0, jnp.inf, squared(jnp.maximum(index, 0)))
        if count == 1:
            return jnp.minimum(best, found.min(-1, keepdims=True)), None
        return -jax.lax.top_k(-jnp.concatenate([best, found], -1), count)[0], None

    start = jnp.full((height * width, count), jnp.inf)
    best = jax.lax.scan(merge, start, indices)[0]
    return jnp.sqrt(best).mean(-1).reshape(height, width)


def _coarse_positions(shape, height: int, width: int) -> jax.Array:
    """For each position of the first level, y · W + x, the position of a level that covers it: `[H·W]`."""
    y, x = fitted.nearest_indices(shape[0], height), fitted.nearest_indices(shape[1], width)
    return (y[:, None] * shape[1] + jnp.broadcast_to(x, (height, width))).reshape(-1)
