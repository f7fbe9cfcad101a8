"""The published scoring protocol of HGAD: normalised over the whole test set of a class, true class given.

Kept to reproduce tables. A score computed so depends on the other images of the test set: the maximum over
the set is part of it. NumPy, since it runs over whole test sets on the host.
"""

from collections.abc import Sequence

import numpy as np

from hgad_jax.scoring.maps import smooth, upsample_and_sum

SIGMA = 4.0  # pixels of the map


def term_map(levels: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Anomaly map of one term (log-likelihood or negative entropy) over the test set of one class.

    Per level: minus the maximum over the set, exp; upsampled and summed over levels; subtracted from its
    maximum over the set; smoothed.

    Args:
      levels: one array `[N, h, w]` per level, the higher the more normal.
      size: side of the resulting maps in pixels.

    Returns:
      `[N, size, size]`, at least zero, higher is more anomalous.
    """
    normal = np.asarray(upsample_and_sum(tuple(np.exp(m - m.max()) for m in levels), size))
    return np.asarray(smooth(normal.max() - normal, SIGMA))


def anomaly_map(
    log_likelihood: Sequence[np.ndarray], negative_entropy: Sequence[np.ndarray], size: int
) -> np.ndarray:
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
