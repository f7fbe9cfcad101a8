"""The score maps of the detectors' papers, for the protocol `paper`. HGAD's is in `paper.py`.

Each takes a detector's evidence on a whole test set of one class (per level `[N, h, w]`: log-likelihood, and
negative entropy) and the side of the maps in pixels, and returns `[N, size, size]`, higher is more anomalous.
NumPy, since it runs over whole test sets on the host.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hgad_jax.scoring import paper
from hgad_jax.scoring.maps import smooth

Levels = Sequence[np.ndarray]


def _enlarge(level: np.ndarray, size: int) -> jax.Array:
    """`[N, h, w]` to `[N, size, size]`, bilinear, half-pixel centres (PyTorch's `align_corners=False`)."""
    shape = (len(level), size, size)
    return jax.image.resize(jnp.asarray(level), shape, "bilinear", antialias=False)


def cflow(log_likelihood: Levels, negative_entropy: Levels, size: int) -> np.ndarray:
    """CFLOW-AD: likelihoods over the test set's maximum, summed over levels, below their maximum."""
    del negative_entropy
    normal = paper.normal_map(log_likelihood, [m.max() for m in log_likelihood], size)
    return _below(normal, normal.max())


def _below(normal: np.ndarray, highest: float) -> np.ndarray:
    return np.float32(highest) - normal


def fastflow(log_likelihood: Levels, negative_entropy: Levels, size: int) -> np.ndarray:
    """FastFlow and AltUB: minus the exponential of the mean log-density of channels, mean over levels."""
    del negative_entropy
    return -np.mean([_enlarge(np.exp(m), size) for m in log_likelihood], axis=0)


def distance(log_likelihood: Levels, negative_entropy: Levels, size: int) -> np.ndarray:
    """SPADE: distances, enlarged and smoothed."""
    del negative_entropy
    return np.asarray(smooth(_enlarge(-log_likelihood[0], size), paper.SIGMA))


def mahalanobis(log_likelihood: Levels, negative_entropy: Levels, size: int) -> np.ndarray:
    """PaDiM: distances but for a constant factor (√(2d)), enlarged and smoothed."""
    return distance([-np.sqrt(-m) for m in log_likelihood], negative_entropy, size)


ANOMALY_MAPS: dict[str, Callable[[Levels, Levels, int], np.ndarray]] = {
    "hgad": paper.anomaly_map,
    "cflow": cflow,
    "fastflow": fastflow,
    "padim": mahalanobis,
    "spade": distance,
}

# Of detectors whose map depends on the whole test set: what makes an anomaly map of `paper.normal_map` and
# the set's highest value. The maps of the others are those of each image alone.
OVER_TEST_SET: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "hgad": paper.smooth_below,
    "cflow": _below,
}


def image_scores(detector: str, maps: np.ndarray, class_log_prob: np.ndarray) -> np.ndarray:
    """The published score of each image: the maximum of its map; SPADE's, its distance to the nearest images.

    Args:
      detector: name.
      maps: `[N, size, size]`.
      class_log_prob: the evidence's, of each image's class, `[N]`.
    """
    return -class_log_prob if detector == "spade" else maps.max((1, 2))
