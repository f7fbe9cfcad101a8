"""How far latents are from the normal distribution they are trained towards: Kolmogorov-Smirnov.

AltUB (Kim et al., 2022) reports the statistic per channel, positions and images pooled, and its mean over
channels. It compares whole distributions and is read as a distance, 0 to 1; no p-value is made of it, since
neighbouring positions are not independent.
"""

import numpy as np
from jaxtyping import Float
from scipy import stats
from scipy.special import ndtr

BINS = 10_000  # of the streamed statistic, whose error is 1 / BINS


def ks_statistic(
    latents: Float[np.ndarray, "*rows C"], mean: np.ndarray | float = 0.0, deviation: np.ndarray | float = 1.0
) -> Float[np.ndarray, " C"]:
    """The largest gap between a channel's empirical distribution and a normal one, exactly.

    Args:
      latents: `[..., C]`, all leading axes pooled.
      mean: of the normal distribution, broadcast against `latents`.
      deviation: likewise, positive.

    Returns:
      `[C]` float64.
    """
    z = (np.asarray(latents, np.float64) - mean) / deviation
    uniform = np.sort(ndtr(z).reshape(-1, z.shape[-1]), axis=0)
    n = len(uniform)
    rank = np.arange(1, n + 1)[:, None] / n
    return np.maximum((rank - uniform).max(0), (uniform - rank + 1 / n).max(0))


NORMAL = 0.05  # a p-value above it lets a sample pass for normal
_FEWEST, _MOST = 3, 5000  # values that the test of Shapiro and Wilk takes


def element_normality(latents: Float[np.ndarray, "N E"]) -> dict[str, float] | None:
    """How normal each element of a latent is over images: AltUB's Figures 1 and 3.

    Args:
      latents: of N images, E elements, standardised by the base distribution.

    Returns:
      Means over elements: `"ks"`, the statistic against the standard normal distribution; `"ks_share"` and
      `"shapiro_share"`, the shares of elements that pass for standard normal and for normal of any mean and
      deviation (p above 0.05); `"mean_square"`, which would be 1. None of fewer than three images.
    """
    number = len(latents)
    if number < _FEWEST:
        return None
    z = np.asarray(latents, np.float64)
    ks = ks_statistic(z)
    shapiro = [stats.shapiro(values[:_MOST]).pvalue if np.ptp(values) else 0.0 for values in z.T]
    return {
        "ks": float(ks.mean()),
        "ks_share": float(np.mean(stats.kstwo.sf(ks, number) > NORMAL)),
        "shapiro_share": float(np.mean(np.array(shapiro) > NORMAL)),
        "mean_square": float(np.mean(z**2)),
    }


class KSCounts:
    """The statistic of any number of latents, in memory that does not grow.

    Under the normal distribution Φ(z) is uniform, so that equal bins (a, b] of it are enough. The empirical
    distribution F is exact at their edges and rises, so that within a bin F(u) − u ≤ F(b) − b + 1/bins and
    u − F(u) ≤ a − F(a) + 1/bins: the statistic is at least the largest gap at an edge, at most 1/bins more.

    Args:
      channels: C.
      bins: per channel.
    """

    def __init__(self, channels: int, bins: int = BINS):
        self._counts = np.zeros((channels, bins), np.int64)

    def add(
        self,
        latents: Float[np.ndarray, "*rows C"],
        mean: np.ndarray | float = 0.0,
        deviation: np.ndarray | float = 1.0,
    ) -> None:
        """Adds latents `[..., C]`; mean and deviation as in `ks_statistic`."""
        channels, bins = self._counts.shape
        uniform = ndtr((np.asarray(latents, np.float64) - mean) / deviation).reshape(-1, channels)
        index = np.clip(np.ceil(uniform * bins).astype(np.int64) - 1, 0, bins - 1)  # bins (a, b]
        for row, values in zip(self._counts, index.T, strict=True):
            row += np.bincount(values, minlength=bins)

    def bounds(self) -> tuple[Float[np.ndarray, " C"], Float[np.ndarray, " C"]]:
        """The lowest and the highest that each channel's statistic can be, `[C]` each."""
        bins = self._counts.shape[1]
        empirical = np.cumsum(self._counts, 1) / self._counts.sum(1, keepdims=True)
        low = np.abs(empirical - np.arange(1, bins + 1) / bins).max(1)
        return low, np.minimum(low + 1 / bins, 1.0)
