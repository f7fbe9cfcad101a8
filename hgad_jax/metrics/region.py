"""AUPRO: how much of each defect is found at a given rate of false-positive pixels."""

import numpy as np
from scipy import ndimage

FPR_LIMIT = 0.3


def aupro(masks: np.ndarray, maps: np.ndarray, *, limit: float = FPR_LIMIT) -> float | None:
    """Area under the per-region overlap curve up to a false-positive rate, divided by that rate.

    Regions are 8-connected components of the masks and weigh the same whatever their size. The curve is
    exact (every score is a threshold), interpolated linearly at the limit, and its area is divided by the
    limit itself, so that the result lies in [0, 1] (Bergmann et al., MVTec AD, IJCV 2021).

    Args:
      masks: true on defects, `[N, H, W]`.
      maps: anomaly maps `[N, H, W]`, higher is more anomalous.
      limit: false-positive rate, over the good pixels of all images.

    Returns:
      AUPRO, or None without a defect or without a good pixel.
    """
    masks = np.asarray(masks, bool)
    background = ~masks
    if not masks.any() or not background.any():
        return None
    weight = _region_weights(masks)
    order = np.argsort(-maps, axis=None, kind="stable")
    scores = maps.ravel()[order]
    last_of_score = np.append(scores[1:] != scores[:-1], True)  # equal scores share a threshold
    fpr = np.cumsum(background.ravel()[order])[last_of_score] / background.sum()
    overlap = np.cumsum(weight.ravel()[order])[last_of_score]
    fpr, overlap = np.append(0.0, fpr), np.append(0.0, overlap)
    inside = fpr <= limit
    fpr, overlap = (
        np.append(fpr[inside], limit),
        np.append(overlap[inside], np.interp(limit, fpr, overlap)),
    )
    return float(min(np.trapezoid(overlap, fpr) / limit, 1.0))


def _region_weights(masks: np.ndarray) -> np.ndarray:
    """What each pixel adds to the mean overlap once it is found: 1 / (its region's size · regions)."""
    weights = np.zeros(masks.shape)
    regions = 0
    for mask, out in zip(masks, weights, strict=True):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(labelled.ravel(), minlength=count + 1)
        out[mask] = 1.0 / sizes[labelled[mask]]
        regions += count
    return weights / regions
