"""Threshold-free metrics of scores against binary labels."""

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score


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
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "ap": float(average_precision_score(labels, scores)),
        "f1_max": float(f1.max()),
    }
