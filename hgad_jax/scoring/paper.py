"""The published scoring protocol of HGAD: normalised over the whole test set of a class, true class given.

Kept to reproduce tables. A score computed so depends on the other images of the test set: the maximum over
the set is part of it. NumPy, since it runs over whole test sets on the host, in parts where they are large.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hgad_jax.scoring.maps import smooth, upsample_and_sum
from hgad_jax.types import Scalar

SIGMA = 4.0  # pixels of the map


def normal_map(
    levels: Sequence[Float[np.ndarray, "N _ _"]], highest: Sequence[Scalar] | np.ndarray, size: int
) -> Float[np.ndarray, "N {size} {size}"]:
    """How normal each pixel is by one term (log-likelihood or negative entropy): `[N, size, size]`, positive.

    Args:
      levels: one array `[N, h, w]` per level, the higher the more normal.
      highest: of each level, over the whole test set of the class.
      size: side of the resulting maps in pixels.
    """
    parts = tuple(np.exp(m - np.float32(top)) for m, top in zip(levels, highest, strict=True))
    return np.asarray(upsample_and_sum(parts, size))


def smooth_below(
    normal: Float[np.ndarray, "N size size"], highest: Scalar
) -> Float[np.ndarray, "N size size"]:
    """From normal to anomalous: how far below the highest of the whole test set, smoothed; at least zero."""
    return np.asarray(smooth(np.float32(highest) - normal, SIGMA))


def term_map(levels: Sequence[Float[np.ndarray, "N _ _"]], size: int) -> Float[np.ndarray, "N {size} {size}"]:
    """Anomaly map of one term over the test set of one class, all in memory.

    Args:
      levels: one array `[N, h, w]` per level, the higher the more normal.
      size: side of the resulting maps in pixels.

    Returns:
      `[N, size, size]`, at least zero, higher is more anomalous.
    """
    normal = normal_map(levels, [m.max() for m in levels], size)
    return smooth_below(normal, normal.max())


def anomaly_map(
    log_likelihood: Sequence[Float[np.ndarray, "N _ _"]],
    negative_entropy: Sequence[Float[np.ndarray, "N _ _"]],
    size: int,
) -> Float[np.ndarray, "N {size} {size}"]:
    """The product of the two terms' maps, `[N, size, size]`.

    With a single class the entropy is zero everywhere and so would be the product: it is left out then.

    Args:
      log_likelihood: per level `[N, h, w]`, of each image's true class, nats per dimension.
      negative_entropy: per level `[N, h, w]`, in nats.
      size: side of the resulting maps in pixels.
    """
    likelihood_map = term_map(log_likelihood, size)
    if all(np.all(m == 0) for m in negative_entropy):
        return likelihood_map
    return likelihood_map * term_map(negative_entropy, size)
