"""One image with its pixels sorted, so that counts at any thresholds are a few look-ups."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt

from hgad_jax.metrics.ordering import descending_key
from hgad_jax.metrics.region import label_regions


class RankedImage(NamedTuple):
    """Scores and regions of an image of `n` pixels."""

    scores: np.ndarray  # float32 [H, W]
    regions: np.ndarray  # number of each pixel's region, 0 on good pixels, [H, W]
    sizes: np.ndarray  # of the regions in pixels
    keys: np.ndarray  # of the scores, ascending uint32 [n]: highest score first
    above: np.ndarray  # negatives, positives and overlap among the first 0, 1, ... n pixels, [3, n + 1]

    def counts(self, edges: UInt[np.ndarray, " edges"]) -> Float[np.ndarray, "3 edges+1"]:
        """Negatives, positives and overlap in each bin between ascending keys, `[3, edges + 1]`."""
        reached = self.above[:, np.searchsorted(self.keys, edges, "right")]
        return np.diff(np.concatenate([reached, self.above[:, -1:]], 1), axis=1, prepend=0)


def rank(scores: Float[np.ndarray, "H W"], mask: Bool[np.ndarray, "H W"]) -> RankedImage:
    """Sorts an image's pixels; scores and mask `[H, W]`."""
    regions, sizes = label_regions(mask)
    size_of = np.append(0, sizes).astype(np.uint64)
    packed = descending_key(scores).ravel().astype(np.uint64) << np.uint64(32)
    packed |= size_of[regions.ravel()]
    packed.sort()
    keys, size = (packed >> np.uint64(32)).astype(np.uint32), packed.astype(np.uint32)
    above = np.zeros((3, len(keys) + 1))
    positive = size > 0
    np.cumsum(~positive, out=above[0, 1:])
    np.cumsum(positive, out=above[1, 1:])
    np.cumsum(np.divide(1.0, size, out=np.zeros(len(keys)), where=positive), out=above[2, 1:])
    return RankedImage(scores, regions, sizes, keys, above)
