"""AUPIMO: recall of each defective image where next to no pixel of a good image is above the threshold."""

import numpy as np
from jaxtyping import Num, UInt

LOW, HIGH = 1e-5, 1e-4  # false-positive rates on good images between which recall is averaged


class NormalTail:
    """The highest scores of the pixels of good images, and AUPIMO from them.

    Bertoldo et al., AUPIMO (2024): the mean of an image's recall over the logarithm of the false-positive
    rate from 1e-5 to 1e-4, the rate being over good images only. A pixel is found from the rate on at which
    its score is a threshold, so that the integral is a mean over the image's defective pixels, exactly.

    Args:
      count: pixels of all good images.
    """

    def __init__(self, count: int):
        self._count, self._reached = count, 0
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._keys, self._ranks = np.zeros(0, np.uint32), np.zeros(0)

    def add(self, keys: UInt[np.ndarray, " n"], counts: Num[np.ndarray, " n"]) -> None:
        """Takes distinct keys (see `metrics.ordering`), ascending, and how many good pixels have each."""
        if self._reached > HIGH * self._count:
            return
        ranks = self._reached + np.cumsum(counts)
        kept = slice(int(np.searchsorted(ranks, HIGH * self._count, "right")) + 1)
        self._parts.append((keys[kept], ranks[kept]))
        self._reached = ranks[-1] if len(ranks) else self._reached

    def finish(self) -> bool:
        """Makes it ready for `aupimo`; whether there are good pixels enough to tell a rate of 1e-5."""
        self._keys = np.concatenate([*(keys for keys, _ in self._parts), self._keys])
        self._ranks = np.concatenate([*(ranks for _, ranks in self._parts), self._ranks])
        return LOW * self._count >= 1

    def aupimo(self, keys: UInt[np.ndarray, " n"]) -> float:
        """Of one image, from the keys of its defective pixels, `[n]`."""
        # good pixels at least as high; a score above all good pixels is found at every rate
        index = np.searchsorted(self._keys, keys, "right") - 1
        ranks = np.where(index >= 0, self._ranks[np.maximum(index, 0)], 0) if len(self._ranks) else 0 * index
        rate = np.clip(ranks / self._count, LOW, HIGH)
        return float(np.mean(np.log(HIGH / rate) / np.log(HIGH / LOW)))
