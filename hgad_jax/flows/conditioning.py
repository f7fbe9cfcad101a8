"""The fixed first layer: bring the backbone's features to zero mean and unit covariance.

Raw features have deviations that differ by orders of magnitude between channels, strong correlations, and
means and covariances that depend on the position; a flow started on them spends most of its training on
undoing that. A fixed affine layer, fitted to the training features and counted in the log-determinant,
leaves likelihoods comparable and lets training start at a Gaussian model of the features.

The layer may be fitted per class, and its mean per position. Its covariance is fitted per *region*: the
positions of a class, grouped by k-means of their mean features (a cell's edge, its busbars, its rest), so
that it has data enough and does not grow with the map. The class decides which statistics are used, so
that one pass of the flow serves all classes; where it is unknown, the layer itself finds it: the likelihood
of an image under the Gaussians of each class costs matrix products, not a pass of the flow per class.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from hgad_jax.flows.grid import Grid, take
from hgad_jax.flows.grouping import sorted_into_tiles
from hgad_jax.platforms import by_platform
from hgad_jax.types import Array, total

Batches = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]  # of features [B, h, w, C] and labels [B]

# Weight of a class's pooled covariance in that of a region, in vectors per channel.
_PRIOR_VECTORS = 0.25


class Affine(NamedTuple):
    """z = (x − mean) @ matrix[region of the position] + offset, for each of G groups.

    A group is a class, or all classes together. H, W are the map's size where the layer depends on the
    position, and 1 where it does not.
    """

    mean: jax.Array  # [G, H, W, C]
    matrix: jax.Array  # [G, R, C, C]
    regions: jax.Array  # [G, H, W] int32, below R
    offset: jax.Array  # [G, C], where the group's centre goes
    log_det: jax.Array  # [G, R], log|det matrix|


def identity_affine(channels: int) -> Affine:
    """The layer that changes nothing."""
    return Affine(
        mean=jnp.zeros((1, 1, 1, channels)),
        matrix=jnp.eye(channels)[None, None],
        regions=jnp.zeros((1, 1, 1), jnp.int32),
        offset=jnp.zeros((1, channels)),
        log_det=jnp.zeros((1, 1)),
    )


def _on_device(*arrays: Any) -> Any:
    """NumPy's cannot be indexed by what a loop traces."""
    return jax.tree.map(jnp.asarray, arrays)


def _of_group(layer: Affine, group: jax.Array | int, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """All images under one group's statistics: z − offset, and log|det| `[h, w]`."""
    centred = x - jnp.broadcast_to(layer.mean[group], x.shape)
    log_det = jnp.broadcast_to(layer.log_det[group][layer.regions[group]], x.shape[1:3])
    return _multiply(centred, layer, group), log_det


def _multiply(x: jax.Array, layer: Affine, group: jax.Array | int) -> jax.Array:
    """x `[B, h, w, C]` times the matrix of each position's region."""
    num_regions = layer.matrix.shape[1]
    if num_regions == 1:
        return x @ layer.matrix[group, 0]
    # A group's matrices are never taken out of the others, which would copy them all.
    matrices = layer.matrix.reshape(-1, *layer.matrix.shape[2:])
    regions = group * num_regions + layer.regions[group]

    def position_by_position(x, matrices, regions):
        b, h, w, c = x.shape
        rows = x.reshape(b, h * w, c).swapaxes(0, 1)
        z = jax.lax.map(lambda args: args[0] @ matrices[args[1]], (rows, regions.reshape(-1)))
        return z.swapaxes(0, 1).reshape(x.shape)

    def batched(x, matrices, regions):
        return jnp.einsum("bhwc,hwcd->bhwd", x, matrices[regions])

    # One product after the other needs no copy of the matrices: three times faster on a CPU.
    return by_platform(x, matrices, regions, cpu=position_by_position, default=batched)


def apply_affine(
    layer: Affine, x: Float[Array, "B h w C"], groups: Int[Array, " B"]
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Features → z.

    Images of a group are multiplied together: with many groups the work is at most twice that of one.

    Args:
      layer: of G groups.
      x: `[B, h, w, C]`.
      groups: group of each image, `[B]` integers below G.

    Returns:
      z `[B, h, w, C]` and log|det dz/dx| `[B, h, w]`.
    """
    layer, x = _on_device(layer, x)

    def under(group, x):
        z, log_det = _of_group(layer, group, x)
        return z + jnp.broadcast_to(layer.offset[group], x.shape), jnp.broadcast_to(log_det, x.shape[:-1])

    num_groups = len(layer.mean)
    if num_groups == 1:
        return under(0, x)
    tiles, group_of_tile, place = sorted_into_tiles(groups, num_groups)
    of_tiles = jax.lax.map(lambda tile: under(tile[0], x[tile[1]]), (group_of_tile, tiles))
    return tuple(rows.reshape(-1, *rows.shape[2:])[place] for rows in of_tiles)


def at_positions(layer: Affine, grid: Grid) -> Affine:
    """The layer of the maps' positions in a grid, to be applied to maps of these alone."""
    if layer.mean.shape[1:3] == (1, 1):
        return layer
    return layer._replace(mean=take(layer.mean, grid, 1), regions=take(layer.regions, grid, 1))


def invert_affine(
    layer: Affine, z: Float[Array, "B h w C"], groups: Int[Array, " B"]
) -> tuple[Float[jax.Array, "B h w C"], Float[jax.Array, "B h w"]]:
    """Inverse of `apply_affine`, with its log|det|; a whole matrix per position is built on the way."""
    inverse = jnp.linalg.inv(layer.matrix)
    regions = jnp.broadcast_to(layer.regions[groups], z.shape[:-1])  # [B, h, w]
    group = groups[:, None, None]
    x = z - jnp.broadcast_to(layer.offset[groups][:, None, None, :], z.shape)
    x = jnp.einsum("bhwc,bhwcd->bhwd", x, inverse[group, regions])
    return x + jnp.broadcast_to(layer.mean[groups], z.shape), -layer.log_det[group, regions]


def group_log_prob(layer: Affine, x: Float[Array, "B h w C"]) -> Float[jax.Array, "B G"]:
    """log p(x | group) of whole maps under the layer's Gaussians: `[B, h, w, C]` → `[B, G]`, in nats.

    Summed over positions; the constant −(h·w·C/2)·ln 2π, the same for all groups, is left out.
    """
    layer, maps = _on_device(layer, x)

    def log_prob(group):
        z, log_det = _of_group(layer, group, maps)
        return log_det.sum() - 0.5 * jnp.sum(z**2, axis=(1, 2, 3))

    return jax.lax.map(log_prob, jnp.arange(len(layer.mean))).T


def most_likely(
    layers: Sequence[Affine], features: Sequence[Float[Array, "B _ _ _"]]
) -> tuple[
    tuple[tuple[Float[jax.Array, "B _ _ _"], Float[jax.Array, "B _ _"]], ...], Float[jax.Array, "B G"]
]:
    """Applies to each image the layers of the group that it is likeliest under, all levels together.

    The same as `group_log_prob`, the maximum of its sum over levels, and `apply_affine`; half the products.

    Args:
      layers: of the levels, of G groups.
      features: per level `[B, h, w, C]`.

    Returns:
      What `apply_affine` gives per level; log p(image | group) `[B, G]`, summed over levels, in nats.
    """
    layers, levels = _on_device(tuple(layers), tuple(features))

    def take(carry, group):
        best, chosen = carry
        found = [_of_group(layer, group, x) for layer, x in zip(layers, levels, strict=True)]
        log_prob = total(log_det.sum() - 0.5 * jnp.sum(z**2, axis=(1, 2, 3)) for z, log_det in found)
        # The first group even if it is not a number: that has to show in the end.
        better = (group == 0) | (log_prob > best)

        def replace(old, new):
            where = better.reshape(-1, *(1,) * (old.ndim - 1))
            return jnp.where(jnp.broadcast_to(where, old.shape), jnp.broadcast_to(new, old.shape), old)

        new = (
            (z + jnp.broadcast_to(layer.offset[group], z.shape), log_det[None])
            for (z, log_det), layer in zip(found, layers, strict=True)
        )
        chosen = tuple(
            (replace(z, new_z), replace(log_det, new_log_det))
            for (z, log_det), (new_z, new_log_det) in zip(chosen, new, strict=True)
        )
        return (jnp.where(better, log_prob, best), chosen), log_prob

    nothing = tuple((jnp.zeros_like(x), jnp.zeros(x.shape[:-1], x.dtype)) for x in levels)
    start = jnp.full(len(levels[0]), -jnp.inf, levels[0].dtype), nothing
    (_, chosen), log_prob = jax.lax.scan(take, start, jnp.arange(len(layers[0].mean)))
    return chosen, log_prob.T


def fit_affine(
    batches: Batches,
    num_classes: int,
    *,
    kind: str,
    per_class: bool,
    regions: int,
    shrinkage: float,
    offsets: Float[np.ndarray, "G C"] | None = None,
) -> Affine:
    """Fits the layer to training features in two streaming passes (one if it ignores the position).

    Args:
      batches: called for each pass; yields features and labels of one level.
      num_classes: K.
      kind: `"standardize"` (unit variance per channel) or `"whiten"` (unit covariance, in the basis of the
        principal components).
      per_class: statistics of each class, else of all together.
      regions: covariances per group; with one or more, the mean is each position's. 0: one mean and one
        covariance for all positions. At most h·w.
      shrinkage: share of the mean variance added to every variance, so that directions that hardly vary
        in training do not explode on a defect.
      offsets: `[G, C]`, where the groups' centres go; None for zero.

    Returns:
      `Affine` in float32, of K groups if `per_class`, of one otherwise.
    """

    def grouped():
        for features, labels in batches():
            groups = labels if per_class else np.zeros_like(labels)
            for g in np.unique(groups):
                yield g, features[groups == g].astype(np.float64)

    num_groups = num_classes if per_class else 1
    mean, covariance = _moments(grouped(), num_groups, per_position=regions > 0)
    if regions:
        matrix = _decorrelate(covariance[:, None], kind, shrinkage)[0][:, 0]
        num_regions = min(regions, mean.shape[1] * mean.shape[2])
        assignment = _assign_regions(mean, matrix, num_regions)
        covariances = _region_covariances(grouped(), mean, covariance, assignment, num_regions)
    else:
        assignment, covariances = np.zeros((num_groups, 1, 1), np.int32), covariance[:, None]
    matrix, log_det = _decorrelate(covariances, kind, shrinkage)
    offsets = np.zeros((num_groups, mean.shape[-1])) if offsets is None else offsets
    return Affine(
        mean=jnp.asarray(mean, jnp.float32),
        matrix=jnp.asarray(matrix, jnp.float32),
        regions=jnp.asarray(assignment, jnp.int32),
        offset=jnp.asarray(offsets, jnp.float32),
        log_det=jnp.asarray(log_det, jnp.float32),
    )


def _moments(grouped, num_groups: int, *, per_position: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[G, H, W, C]`, and covariance around it over images and positions `[G, C, C]`."""
    count, mean, second = np.zeros(num_groups), np.zeros(0), np.zeros(0)
    for g, x in grouped:
        _, h, w, c = x.shape
        if not mean.size:
            mean, second = np.zeros((num_groups, h, w, c)), np.zeros((num_groups, c, c))
        rows = x.reshape(-1, c)
        count[g] += len(x)
        mean[g] += x.sum(0)
        second[g] += rows.T @ rows / (h * w)
    if not count.all():
        raise ValueError(f"no training images of class(es) {np.flatnonzero(count == 0).tolist()}")
    mean, second = mean / count[:, None, None, None], second / count[:, None, None]
    if not per_position:
        mean = mean.mean((1, 2), keepdims=True)
    outer = np.einsum("ghwc,ghwd->gcd", mean, mean) / (mean.shape[1] * mean.shape[2])
    return mean, second - outer


def _assign_regions(mean: np.ndarray, matrix: np.ndarray, regions: int) -> np.ndarray:
    """Groups positions by their mean features in whitened coordinates: `[G, H, W]` integers."""
    assignment = np.zeros(mean.shape[:3], np.int32)
    for g, (means, whiten) in enumerate(zip(mean, matrix, strict=True)):
        points = (means - means.mean((0, 1))).reshape(-1, mean.shape[-1]) @ whiten
        with warnings.catch_warnings():  # fewer distinct positions than regions leave regions empty: fine
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = KMeans(regions, random_state=0).fit_predict(points)
        assignment[g] = labels.reshape(means.shape[:2])
    return assignment


def _region_covariances(grouped, mean, covariance, assignment, num_regions: int) -> np.ndarray:
    """Covariance of each region `[G, R, C, C]`, drawn towards its group's where vectors are few."""
    num_groups, channels = len(mean), mean.shape[-1]
    second = np.zeros((num_groups, num_regions, channels, channels))
    vectors = np.zeros((num_groups, num_regions))
    for g, x in grouped:
        centred = (x - mean[g]).reshape(len(x), -1, channels)
        for r in np.unique(assignment[g]):
            rows = centred[:, assignment[g].ravel() == r].reshape(-1, channels)
            second[g, r] += rows.T @ rows
            vectors[g, r] += len(rows)
    prior = _PRIOR_VECTORS * channels
    weight = (vectors + prior)[:, :, None, None]
    return second / weight + prior / weight * covariance[:, None]


def _decorrelate(covariance: np.ndarray, kind: str, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrices that bring the covariances `[G, R, C, C]` to unit variance, and their log|det| `[G, R]`."""
    channels = covariance.shape[-1]
    floor = shrinkage * np.trace(covariance, axis1=-2, axis2=-1)[..., None] / channels
    floor = np.maximum(floor, np.finfo(np.float32).tiny)  # features that never vary at all
    if kind == "standardize":
        variance = np.diagonal(covariance, axis1=-2, axis2=-1) + floor
        return np.eye(channels) / np.sqrt(variance)[..., None, :], -0.5 * np.log(variance).sum(-1)
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0) + floor
    return vectors / np.sqrt(values)[..., None, :], -0.5 * np.log(values).sum(-1)
