"""Normalisation constants from held-out good images, so that an image's score depends on it alone.

Maps of different levels, classes and positions have different means and deviations on good images. Fitted
on good images that training has not seen and stored with the model, these constants make them comparable.

The images that the constants are fitted to then set the threshold. Scored with constants that they took part
in, they would look better than new good images do, and the threshold would be too low. Each is therefore
scored with constants that leave it out (the jackknife), for which there are closed forms. Left-out constants
come from one image fewer than the final ones, so that these scores are, if anything, slightly too high.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from hgad_jax.shapes import Float, Int
from hgad_jax.types import Array, abstract_array

# Weight of the level's pooled variance in a position's, in images: a position's own variance, from a few
# dozen images, is uncertain.
_PRIOR_IMAGES = 10
_PRIOR_SCORES = 3  # weight of all classes' variance of image scores in that of one, in images
LEAST_DEVIATION = 1e-6  # nats per dimension (log-likelihood) or nats (entropy)

Levels = Sequence[Array]  # per level [N, h, w]


class TermConstants(NamedTuple):
    """Of one term on good images, per level; the first axis is the class, or the image they are for."""

    position_mean: tuple[Array, ...]  # [K, h, w]
    position_deviation: tuple[Array, ...]  # [K, h, w]
    level_mean: tuple[Array, ...]  # [K]
    level_deviation: tuple[Array, ...]  # [K]
    level_max: tuple[Array, ...]  # [K], highest value


class ImageConstants(NamedTuple):
    """Of scores of pieces of evidence on good images; the first axis is the class, or the image."""

    mean: Array  # [K, P]
    deviation: Array  # [K, P]


class Constants(NamedTuple):
    """Of both terms of the evidence, and of image scores if these are combined of pieces."""

    log_likelihood: TermConstants
    negative_entropy: TermConstants
    image: ImageConstants | tuple[()] = ()


C = TypeVar("C", Constants, TermConstants)


class _Sums(NamedTuple):
    """Float64 sufficient statistics of one level and class."""

    number: int  # of maps
    mean: np.ndarray  # [h, w]
    squares: np.ndarray  # [h, w], sum over images of squared differences from the mean
    highest: tuple[float, float]  # of the maxima of all images, the two highest


def fit_constants(
    log_likelihood: Levels, negative_entropy: Levels, labels: Int[Array, " N"], num_classes: int
) -> Constants:
    """Fits the constants of each class.

    Args:
      log_likelihood: per level `[N, h, w]`, of held-out good images given their class.
      negative_entropy: likewise.
      labels: class ids `[N]`; each class at least twice.
      num_classes: K.
    """
    likelihood, entropy = (_fit_term(t, labels, num_classes) for t in (log_likelihood, negative_entropy))
    return Constants(likelihood, entropy)


def leave_one_out(
    log_likelihood: Levels, negative_entropy: Levels, labels: Int[Array, " N"], *, tiles: int = 1
) -> Constants:
    """The constants for each of the images that were given to `fit_constants`, fitted without it.

    Args:
      log_likelihood: as given there.
      negative_entropy: as given there.
      labels: as given there.
      tiles: rows that are one image, one after the other.

    Returns:
      Float32 `Constants` whose first axis is the image, N / tiles.
    """
    terms = (log_likelihood, negative_entropy)
    likelihood, entropy = (_term_without_each(term, labels[::tiles], tiles) for term in terms)
    return Constants(likelihood, entropy)


def fit_image_constants(
    scores: Float[np.ndarray, "N P"], labels: Int[Array, " N"], num_classes: int
) -> ImageConstants:
    """Fits the constants of image scores.

    Args:
      scores: `[N, P]`, of held-out good images, each scored with constants that leave it out.
      labels: class ids `[N]`; each class at least once.
      num_classes: K.
    """
    scores, prior = scores.astype(np.float64), _pooled_variance(scores, labels)
    return _as_image([_describe_scores(scores[labels == k], prior) for k in range(num_classes)])


def leave_one_score_out(scores: Float[np.ndarray, "N P"], labels: Int[Array, " N"]) -> ImageConstants:
    """The constants for each of the images that were given to `fit_image_constants`, fitted without it."""
    scores, prior = scores.astype(np.float64), _pooled_variance(scores, labels)
    numbers = np.arange(len(labels))
    others = ((labels == labels[i]) & (numbers != i) for i in numbers)
    return _as_image([_describe_scores(scores[chosen], prior) for chosen in others])


def _pooled_variance(scores: Array, labels: Array) -> Array:
    """Within classes, `[P]`; 1 where no class tells: of two images, one left out."""
    centred = np.concatenate([scores[labels == k] - scores[labels == k].mean(0) for k in np.unique(labels)])
    free = len(scores) - len(np.unique(labels))
    return np.sum(centred**2, 0) / free if free > 1 else np.ones(scores.shape[1])


def _describe_scores(scores: Array, prior: Array) -> tuple[Array, Array]:
    """Mean and deviation `[P]` of a class's; the variance of few is drawn towards that of all classes."""
    mean = scores.mean(0)
    squares = np.sum((scores - mean) ** 2, 0)
    variance = (squares + _PRIOR_SCORES * prior) / (max(len(scores) - 1, 0) + _PRIOR_SCORES)
    return mean, np.maximum(np.sqrt(variance), LEAST_DEVIATION)


def _as_image(found: list[tuple[Array, Array]]) -> ImageConstants:
    return ImageConstants(*(np.stack(column).astype(np.float32) for column in zip(*found, strict=True)))


def of_classes(constants: C, class_ids: Int[Array, "*B"] | int | np.integer) -> C:
    """The constants for images of these classes: the first axis becomes `[B]`."""
    return jax.tree.map(lambda array: array[class_ids], constants)


def abstract_constants(
    sizes: Sequence[tuple[int, int, int]], num_classes: int, *, pieces: int = 0
) -> Constants:
    """Shapes and dtypes, to restore constants into.

    Args:
      sizes: (h, w, C) of each level.
      num_classes: K.
      pieces: P, of the evidence that image scores are combined of; 0: image scores are those of one map.
    """
    maps = tuple(abstract_array(num_classes, h, w) for h, w, _ in sizes)
    scalars = tuple(abstract_array(num_classes) for _ in sizes)
    term = TermConstants(maps, maps, scalars, scalars, scalars)
    scores = abstract_array(num_classes, pieces)
    return Constants(term, term, ImageConstants(scores, scores) if pieces else ())


def _fit_term(levels: Levels, labels: Array, num_classes: int) -> TermConstants:
    return _as_term([[_describe(_sums(maps[labels == k])) for k in range(num_classes)] for maps in levels])


def _term_without_each(levels: Levels, labels: Array, tiles: int) -> TermConstants:
    """Labels `[N / tiles]` of images."""
    result = []
    for maps in levels:
        images = maps.reshape(-1, tiles, *maps.shape[1:])
        sums = {k: _sums(images[labels == k].reshape(-1, *maps.shape[1:]), tiles) for k in np.unique(labels)}
        result.append([_describe(_without(sums[k], image)) for k, image in zip(labels, images, strict=True)])
    return _as_term(result)


def _as_term(levels: list[list[tuple]]) -> TermConstants:
    stacked = [[np.stack(a).astype(np.float32) for a in zip(*level, strict=True)] for level in levels]
    return TermConstants(*(tuple(a) for a in zip(*stacked, strict=True)))


def _sums(maps: Array, tiles: int = 1) -> _Sums:
    maps = np.asarray(maps, np.float64)
    mean = maps.mean(0)
    highest = np.sort(maps.reshape(len(maps) // tiles, -1).max(1))[-2:]
    return _Sums(len(maps), mean, ((maps - mean) ** 2).sum(0), (float(highest[0]), float(highest[-1])))


def _without(sums: _Sums, image: Array) -> _Sums:
    """The statistics of the other images, without the maps `[tiles, h, w]` of this one."""
    image = np.asarray(image, np.float64)
    count = sums.number - len(image)
    mean = (sums.number * sums.mean - image.sum(0)) / count
    squares = sums.squares - ((image - sums.mean) ** 2).sum(0) - count * (mean - sums.mean) ** 2
    second, first = sums.highest
    highest = second if image.max() >= first else first
    return _Sums(count, mean, np.maximum(squares, 0.0), (highest, highest))


def _describe(sums: _Sums) -> tuple:
    """Mean and deviation of each position and of the level, and the maximum."""
    variance = sums.squares / sums.number
    level_mean = sums.mean.mean()
    level_variance = (variance + (sums.mean - level_mean) ** 2).mean()
    # One image (of two, one left out) says nothing of how images differ: how positions differ stands in.
    prior = variance.mean() if sums.number > 1 else level_variance
    weight = sums.number / (sums.number + _PRIOR_IMAGES)
    deviation = np.sqrt(weight * variance + (1 - weight) * prior)
    # Where good images never vary, any difference is very odd; the floor keeps it a finite number.
    return (
        sums.mean,
        np.maximum(deviation, LEAST_DEVIATION),
        level_mean,
        np.maximum(np.sqrt(level_variance), LEAST_DEVIATION),
        np.float64(sums.highest[1]),
    )
