"""The last pass of the pixel metrics: what is known only image by image, once the curves are."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hgad_jax.metrics.bootstrap import Resampler, WeightedCounts
from hgad_jax.metrics.curves import CurveSamples
from hgad_jax.metrics.dfr import DfrCounts
from hgad_jax.metrics.ordering import GROUP_SIZE, descending_key
from hgad_jax.metrics.pixel import Images, PixelCurve, pixel_curves
from hgad_jax.metrics.ranked import RankedImage, rank

PIXEL = ("auroc", "ap", "f1_max", "aupro", "aupro_dfr1000", "aupimo")


class PixelResult(NamedTuple):
    """Metrics of a class, or of all classes pooled."""

    metrics: dict[str, float | None]  # PIXEL; None where the images do not allow one
    replicates: dict[str, np.ndarray]  # of the bootstrap, [R]; none for `aupro_dfr1000`
    samples: CurveSamples  # recall and overlap at false-positive rates `metrics.pixel.RATES`


def pixel_metrics(
    images: Images,
    num_classes: int,
    directory: str | Path,
    *,
    replicates: int = 0,
    seed: int = 0,
    group_size: int = GROUP_SIZE,
) -> list[PixelResult | None]:
    """All pixel metrics of each class and, last, pooled over all of them.

    The metrics are exact. The bootstrap's replicates are not: they use some 500 bins of score (quantiles of
    the good and of the defective pixels), and are shifted by what that does to the metric of the images
    themselves.

    Args:
      images: the test images that have ground truth, a class's one after the other.
      num_classes: K.
      directory: where 8 bytes a pixel are kept meanwhile.
      replicates: R, resamplings of the images; 0 for none.
      seed: of the resampling.
      group_size: pixels in memory at a time.

    Returns:
      `K + 1` results; None for a class without images.
    """
    curves, strata = pixel_curves(images, num_classes, directory, group_size)
    resampler = Resampler(strata, replicates, np.random.default_rng(seed))
    open_ones = {num_classes: _Images(curves[-1], replicates)} if curves[-1] else {}
    results: list[PixelResult | None] = [None] * (num_classes + 1)
    for image in images():
        if image.class_id not in open_ones:  # one class at a time beside the pool
            for done in open_ones.keys() - {num_classes}:
                results[done] = open_ones.pop(done).finish()
            if results[image.class_id]:
                raise ValueError("images of a class must follow each other")
            curve = curves[image.class_id]
            assert curve is not None  # it has this image
            open_ones[image.class_id] = _Images(curve, replicates)
        weights, ranked = resampler.draw(image.stratum), rank(image.scores, image.mask)
        for counts in open_ones.values():
            counts.add(ranked, weights)
    for done, counts in open_ones.items():
        results[done] = counts.finish()
    return results


class _Images:
    """Gathers one class's images, or the pool's."""

    def __init__(self, curve: PixelCurve, replicates: int):
        self._curve = curve
        self._dfr = DfrCounts(*curve.extremes)
        self._tail_known = curve.tail.finish()
        bins = len(curve.edges) + 1
        self._all, self._replicates = WeightedCounts(1, bins), WeightedCounts(replicates, bins)
        self._recalls: list[float] = []  # AUPIMO of each defective image
        self._recall_sums = np.zeros((2, replicates))  # weighted sum of those, and of the weights

    def add(self, image: RankedImage, weights: np.ndarray) -> None:
        """Adds an image that is drawn `weights` `[R]` times."""
        self._dfr.add(image)
        if self._tail_known and len(image.sizes):
            recall = self._curve.tail.aupimo(descending_key(image.scores[image.regions > 0]))
            self._recalls.append(recall)
            self._recall_sums += np.stack([recall * weights, weights])
        if len(weights):
            counts = image.counts(self._curve.edges)
            self._all.add(counts, np.ones(1))
            self._replicates.add(counts, weights)

    def finish(self) -> PixelResult:
        """The metrics, once all images were added."""
        exact = {name: None if np.isnan(v) else v for name, v in self._curve.metrics.items()}
        defined = exact["auroc"] is not None
        recall = float(np.mean(self._recalls)) if self._recalls else None
        metrics = exact | {"aupro_dfr1000": self._dfr.aupro() if defined else None, "aupimo": recall}
        replicates = {}
        if self._recall_sums.shape[1] and defined:
            binned, own = self._replicates.metrics(), self._all.metrics()
            replicates = {name: np.clip(binned[name] + (exact[name] - own[name]), 0, 1) for name in exact}
            if recall is not None:
                drawn, times = self._recall_sums
                replicates["aupimo"] = drawn / np.maximum(times, 1)
        return PixelResult(metrics, replicates, self._curve.samples)
