"""The AUPRO of CFLOW-AD's code, which took it from DFR's: to compare with tables that used it.

It differs from the definition in four ways: 1,000 equal steps of the score instead of every score as
threshold; holes of a region count as found region, but not in its size, so that an overlap can pass 1; the
points up to the limit are stretched to the whole axis instead of cut at it; and the scale hangs on the
lowest and highest score of the test set.
"""

import numpy as np
from scipy import ndimage

from hgad_jax.metrics.curves import FPR_LIMIT
from hgad_jax.metrics.ordering import score_of_key
from hgad_jax.metrics.ranked import RankedImage
from hgad_jax.metrics.region import EIGHT

STEPS = 1000


class DfrCounts:
    """False positives and overlap above each threshold, image by image.

    Args:
      lowest: the lowest score of all images.
      highest: the highest.
    """

    def __init__(self, lowest: float, highest: float):
        self._thresholds = highest - np.arange(STEPS) * (highest - lowest) / STEPS  # descending
        self._negatives, self._overlap = np.zeros((2, STEPS))  # above each threshold
        self._regions = self._all_negatives = 0

    def add(self, image: RankedImage) -> None:
        """Adds an image."""
        ascending = -score_of_key(image.keys).astype(np.float64)
        found = np.searchsorted(ascending, -self._thresholds, "left")  # pixels above each threshold
        self._negatives += image.above[0, found]
        places = ndimage.find_objects(image.regions)
        for number, (place, size) in enumerate(zip(places, image.sizes, strict=True), 1):
            filled = ndimage.binary_fill_holes(image.regions[place] == number, structure=EIGHT)
            scores = np.sort(-image.scores[place][np.asarray(filled)].astype(np.float64))
            self._overlap += np.searchsorted(scores, -self._thresholds, "left") / size
        self._all_negatives += image.above[0, -1]
        self._regions += len(image.sizes)

    def aupro(self, limit: float = FPR_LIMIT) -> float | None:
        """The area, or None where no two false-positive rates up to the limit differ."""
        if not self._regions or not self._all_negatives:
            return None
        fpr, overlap = self._negatives / self._all_negatives, self._overlap / self._regions
        kept = fpr <= limit
        fpr, overlap = fpr[kept], overlap[kept]
        if not len(fpr) or fpr[0] == fpr[-1]:
            return None
        return float(np.trapezoid(overlap, (fpr - fpr[0]) / (fpr[-1] - fpr[0])))
