"""How normal latents are while a detector is trained: AltUB's Table 5."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from hgad_jax.detectors import Detector
from hgad_jax.metrics.normality import KSCounts


def mean_ks(
    detector: Detector, params: Any, constants: Any, batches: Iterable[tuple[Any, np.ndarray]]
) -> float | None:
    """The Kolmogorov-Smirnov statistic of latents, mean over the channels of all levels.

    Args:
      detector: whose latents would be standard normal.
      params: of now.
      constants: the detector's.
      batches: of features per level `[B, h, w, C]` and class ids `[B]`, of good images.

    Returns:
      0 to 1; None without images.
    """
    assert detector.latents is not None  # `config.validate` refuses others
    latents, counts = jax.jit(detector.latents), []
    for features, class_ids in batches:
        levels = latents(params, constants, features, class_ids)
        counts = counts or [KSCounts(level.shape[-1]) for level in levels]
        for count, level in zip(counts, levels, strict=True):
            count.add(np.asarray(level))
    if not counts:
        return None
    return float(np.concatenate([count.bounds()[1] for count in counts]).mean())
