"""Metrics of image scores against binary labels, over all thresholds."""

import numpy as np

from hgad_jax.metrics.curves import curve_metrics, points_of

RANKING = ("auroc", "ap", "f1_max")


def ranking_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float] | None:
    """AUROC, average precision and the best F1 over all thresholds.

    Args:
      labels: true where anomalous, any shape.
      scores: of the same shape, higher is more anomalous, finite.

    Returns:
      `auroc`, `ap` and `f1_max`, or None if only one kind of label is there.
    """
    labels, scores = np.ravel(labels).astype(bool), np.ravel(scores)
    if not np.all(np.isfinite(scores)):
        raise ValueError(f"{np.sum(~np.isfinite(scores))} of {scores.size} scores are not finite.")
    if labels.all() or not labels.any():
        return None
    found = curve_metrics(points_of(labels, scores))
    return {name: float(found[name]) for name in RANKING}
