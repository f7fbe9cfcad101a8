"""The score maps of the detectors' papers, for the protocol `paper`. The products of terms are in `paper.py`.

Each takes a detector's evidence on a whole test set of one class (per level `[N, h, w]`: log-likelihood, and
negative entropy) and the side of the maps in pixels, and returns `[N, size, size]`, higher is more anomalous.
NumPy, since it runs over whole test sets on the host.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hgad_jax.errors import UserError
from hgad_jax.scoring import paper
from hgad_jax.scoring.maps import smooth
from hgad_jax.types import Scalar

Levels = Sequence[np.ndarray]
BOTH, LIKELIHOOD, ENTROPY = "both", "likelihood", "entropy"


def maximum(
    maps: Float[np.ndarray, "N size size"], class_log_prob: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """The score of each image: the maximum of its map `[N, size, size]`."""
    del class_log_prob
    return maps.max((1, 2))


def nearest(
    maps: Float[np.ndarray, "N size size"], class_log_prob: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """SPADE's score of each image: minus the log-probability of its class `[N]`, its distance to others."""
    del maps
    return -class_log_prob


class PublishedScore(NamedTuple):
    """How a paper scores images.

    Attributes:
      maps: (log-likelihood, negative entropy, size) → anomaly maps of a test set of one class.
      over_test_set: for maps that depend on the whole test set, what makes an anomaly map of
        `paper.normal_map` and the set's highest value; None where a map is that of its image alone.
      entropy: whether the map of the negative entropy is multiplied with it, if there is any.
      image: (maps, log-probability of each image's class) → scores `[N]`.
    """

    maps: Callable[[Levels, Levels, int], np.ndarray]
    over_test_set: Callable[[np.ndarray, float], np.ndarray] | None = None
    entropy: bool = False
    image: Callable[[np.ndarray, np.ndarray], np.ndarray] = maximum


def _enlarge(level: np.ndarray, size: int) -> jax.Array:
    """`[N, h, w]` to `[N, size, size]`, bilinear, half-pixel centres (PyTorch's `align_corners=False`)."""
    shape = (len(level), size, size)
    return jax.image.resize(jnp.asarray(level), shape, "bilinear", antialias=False)


def below_highest(
    log_likelihood: Levels, negative_entropy: Levels, size: int
) -> Float[np.ndarray, "N {size} {size}"]:
    """CFLOW-AD: likelihoods over the test set's maximum, summed over levels, below their maximum."""
    del negative_entropy
    normal = paper.normal_map(log_likelihood, [m.max() for m in log_likelihood], size)
    return _below(normal, normal.max())


def _below(normal: np.ndarray, highest: Scalar) -> np.ndarray:
    return np.float32(highest) - normal


def mean_density(
    log_likelihood: Levels, negative_entropy: Levels, size: int
) -> Float[np.ndarray, "N {size} {size}"]:
    """FastFlow and AltUB: minus the exponential of the mean log-density of channels, mean over levels."""
    del negative_entropy
    return -np.mean([_enlarge(np.exp(m), size) for m in log_likelihood], axis=0)


def distance(
    log_likelihood: Levels, negative_entropy: Levels, size: int
) -> Float[np.ndarray, "N {size} {size}"]:
    """SPADE: distances, enlarged and smoothed."""
    del negative_entropy
    return np.asarray(smooth(_enlarge(-log_likelihood[0], size), paper.SIGMA))


def mahalanobis(
    log_likelihood: Levels, negative_entropy: Levels, size: int
) -> Float[np.ndarray, "N {size} {size}"]:
    """PaDiM: distances but for a constant factor (√(2d)), enlarged and smoothed."""
    return distance([-np.sqrt(-m) for m in log_likelihood], negative_entropy, size)


def density_distance(log_likelihood: Levels, negative_entropy: Levels, size: int) -> np.ndarray:
    """PatchCore: distances to the nearest centre, enlarged and smoothed.

    A log-likelihood under centres of one variance is minus the square of the distance but for two numbers
    that are the same for the class: the highest of the test set stands for the distance 0.
    """
    squares = [np.max(level) - level for level in log_likelihood]
    return distance([-np.sqrt(square) for square in squares], negative_entropy, size)


TERMS = (BOTH, LIKELIHOOD, ENTROPY)  # of a score that is a product of two


def used_terms(published: PublishedScore, terms: str) -> tuple[int, ...]:
    """Which terms a score is made of, 0 the log-likelihood and 1 the negative entropy.

    Raises:
      UserError: a single one of a score that has no two.
    """
    if terms != BOTH and not published.entropy:
        raise UserError(
            f"The terms '{terms}' alone are of HGAD's published score, likelihood times entropy; that of "
            f"this run's detector has no entropy. Expected '{BOTH}'."
        )
    return {BOTH: (0, 1) if published.entropy else (0,), LIKELIHOOD: (0,), ENTROPY: (1,)}[terms]


def maps_by(
    published: PublishedScore, log_likelihood: Levels, negative_entropy: Levels, size: int, terms: str
) -> Float[np.ndarray, "N {size} {size}"]:
    """The maps of a test set of one class, all in memory, by both terms of the score or by one of them."""
    used = used_terms(published, terms)
    if terms == BOTH or published.over_test_set is None:
        return published.maps(log_likelihood, negative_entropy, size)
    levels = (log_likelihood, negative_entropy)[used[0]]
    normal = paper.normal_map(levels, [m.max() for m in levels], size)
    return published.over_test_set(normal, float(normal.max()))


LIKELIHOOD_AND_ENTROPY = PublishedScore(paper.anomaly_map, paper.smooth_below, entropy=True)  # HGAD
BELOW_HIGHEST = PublishedScore(below_highest, _below)
MEAN_DENSITY = PublishedScore(mean_density)
DISTANCE = PublishedScore(distance, image=nearest)
DENSITY_DISTANCE = PublishedScore(density_distance)  # PatchCore
MAHALANOBIS = PublishedScore(mahalanobis)
