"""AUPRO: how much of each defect is found at a given rate of false-positive pixels."""

from typing import cast

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

from hgad_jax.metrics.curves import FPR_LIMIT, Points, curve_metrics

EIGHT = np.ones((3, 3))  # pixels that touch at a corner belong together


def aupro(
    masks: Shaped[np.ndarray, "N H W"], maps: Float[np.ndarray, "N H W"], *, limit: float = FPR_LIMIT
) -> float | None:
    """Area under the per-region overlap curve up to a false-positive rate, divided by that rate.

    Regions are 8-connected components of the masks and weigh the same whatever their size. The curve is
    exact (every score is a threshold), interpolated linearly at the limit, and its area is divided by the
    limit itself, so that the result lies in [0, 1] (Bergmann et al., MVTec AD, IJCV 2021). All in memory;
    for many images `metrics.pixel` gives the same value in bounded memory.

    Args:
      masks: true on defects, `[N, H, W]`.
      maps: anomaly maps `[N, H, W]`, higher is more anomalous.
      limit: false-positive rate, over the good pixels of all images.

    Returns:
      AUPRO, or None without a defect or without a good pixel.
    """
    masks = np.asarray(masks, bool)
    if not masks.any() or masks.all():
        return None
    sizes = np.stack([region_sizes(mask) for mask in masks]).ravel()
    order = np.argsort(-maps, axis=None, kind="stable")
    scores, sizes = maps.ravel()[order], sizes[order]
    starts = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))  # equal scores share a threshold
    weights = np.divide(1.0, sizes, out=np.zeros(sizes.shape), where=sizes > 0)
    values = ((sizes == 0).astype(np.float64), (sizes > 0).astype(np.float64), weights)
    return float(curve_metrics(Points(*(np.add.reduceat(v, starts) for v in values)), limit)["aupro"])


def label_regions(
    mask: Bool[np.ndarray, "H W"],
) -> tuple[Int[np.ndarray, "H W"], Int[np.ndarray, " regions"]]:
    """The 8-connected regions of a mask `[H, W]`.

    Returns:
      The number of each pixel's region, 0 outside; and the regions' sizes in pixels, `[regions]`.
    """
    # A cast, since SciPy returns a number alone where it is given an array for the labels.
    labelled, count = cast(tuple[np.ndarray, int], ndimage.label(mask, structure=EIGHT))
    return labelled, np.bincount(labelled.ravel(), minlength=count + 1)[1:]


def region_sizes(mask: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """The size of each pixel's region in pixels, 0 outside of all, `[H, W]`."""
    labelled, sizes = label_regions(mask)
    return np.append(0, sizes)[labelled]
