"""Pixel metrics of any number of images, exact, in bounded memory, per class and pooled.

Three passes over the images: scores are counted and then sorted on disk (`metrics.ordering`); the curves
are folded from the highest score down (`metrics.curves`); and, when thresholds are known, the images are
gone through once more for what needs them one by one (`metrics.pixel_images`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hgad_jax.metrics.curves import CurveSamples, CurveSums, Points
from hgad_jax.metrics.ordering import GROUP_SIZE, keys_of, labels_of, score_of_key, sorted_groups
from hgad_jax.metrics.pimo import NormalTail
from hgad_jax.metrics.region import label_regions

RATES = np.linspace(0, 1, 257) ** 2  # false-positive rates at which curves are kept, dense where low
_RECALLS = np.linspace(0, 1, 257)[1:]


class ImagePixels(NamedTuple):
    """One image of a test set with ground truth."""

    class_id: int
    anomalous: bool
    scores: np.ndarray  # float32 [H, W], finite
    mask: np.ndarray  # bool [H, W], true on defects

    @property
    def stratum(self) -> tuple[int, bool]:
        """Images that are resampled among themselves."""
        return self.class_id, self.anomalous


Images = Callable[[], Iterator[ImagePixels]]  # the same images each time


class PixelCurve(NamedTuple):
    """The curves of a class, or of all classes pooled."""

    metrics: dict[str, float]  # auroc, ap, f1_max, aupro; NaN where undefined
    samples: CurveSamples  # recall and overlap at RATES
    edges: np.ndarray  # keys, ascending uint32: quantiles of good and of defective pixels
    extremes: tuple[float, float]  # lowest and highest score
    tail: NormalTail


class Labels(NamedTuple):
    """What the label that travels with each pixel stands for, one row per label."""

    class_id: np.ndarray  # uint16 [L]
    size: np.ndarray  # of the pixel's region in pixels, 0 on good pixels, [L]
    normal: np.ndarray  # whether the image is good, bool [L]
    pixels: np.ndarray  # how many have the label, [L]


def pixel_curves(
    images: Images, num_classes: int, directory: str | Path, group_size: int = GROUP_SIZE
) -> tuple[list[PixelCurve | None], dict[tuple[int, bool], int]]:
    """Curves of each class and, last, of all pooled; None for a class without images.

    Args:
      images: the test images that have ground truth.
      num_classes: K.
      directory: where 8 bytes a pixel are kept meanwhile.
      group_size: pixels in memory at a time.

    Returns:
      `K + 1` curves, and the number of images of each stratum.

    Raises:
      ValueError: a score is not finite.
    """
    rows: list[tuple[int, int, bool, int]] = []
    strata: dict[tuple[int, bool], int] = {}

    def labelled():
        for image in images():
            strata[image.stratum] = strata.get(image.stratum, 0) + 1
            regions, sizes = label_regions(image.mask)
            labels = (regions + len(rows)).astype(np.uint32)
            rows.append((image.class_id, 0, not image.anomalous, image.mask.size - int(sizes.sum())))
            rows.extend((image.class_id, int(size), False, int(size)) for size in sizes)
            yield image.scores, labels

    curves: list[_Curve] = []
    labels = None
    for packed in sorted_groups(lambda: _finite(images), labelled, directory, group_size):
        if labels is None:  # the rows are complete now
            labels = Labels(*(np.array(column) for column in zip(*rows, strict=True)))
            curves = [_Curve(labels, labels.class_id == k) for k in range(num_classes)]
            curves.append(_Curve(labels, np.ones(len(rows), bool)))
        _add_to_each(curves, packed, labels)
    if labels is None:
        return [None] * (num_classes + 1), strata
    return [curve.finish() if curve.started else None for curve in curves], strata


def _finite(images: Images) -> Iterator[np.ndarray]:
    for image in images():
        if not np.isfinite(image.scores).all():
            bad = int(np.sum(~np.isfinite(image.scores)))
            raise ValueError(f"{bad} of {image.scores.size} scores of an image are not finite.")
        yield image.scores


def _add_to_each(curves: list["_Curve"], packed: np.ndarray, labels: Labels) -> None:
    keys, names = keys_of(packed), labels_of(packed)
    class_ids = labels.class_id[names].astype(np.uint16)
    order = np.argsort(class_ids, kind="stable")  # by class, each in the order of the scores
    starts = np.searchsorted(class_ids[order], np.arange(len(curves)))
    for curve, start, stop in zip(curves[:-1], starts[:-1], starts[1:], strict=True):
        chosen = order[start:stop]
        curve.add(keys[chosen], names[chosen], labels)
    curves[-1].add(keys, names, labels)


class _Curve:
    """Folds one class's pixels, which come in groups; the last score of a group may go on in the next."""

    def __init__(self, labels: Labels, chosen: np.ndarray):
        count = labels.pixels[chosen].astype(np.float64)
        positive = labels.size[chosen] > 0
        regions = np.asarray(positive.sum(), np.float64)
        self.totals = Points(count[~positive].sum(), count[positive].sum(), regions)
        self._sums = CurveSums(self.totals)
        self._samples = CurveSamples(RATES, self.totals)
        self._tail = NormalTail(int(count[labels.normal[chosen]].sum()))
        self._edges: list[np.ndarray] = []
        self._open = np.zeros(0, np.uint32), np.zeros((4, 0))  # the key that may go on, its values
        self._first: int | None = None
        self._last = 0

    @property
    def started(self) -> bool:
        """Whether there was any pixel."""
        return self._first is not None

    def add(self, keys: np.ndarray, names: np.ndarray, labels: Labels) -> None:
        """Goes on with ascending keys `[n]` and their labels."""
        if not len(keys):
            return
        size = labels.size[names]
        values = np.stack([size == 0, size > 0, size, labels.normal[names]]).astype(np.float64)
        np.divide(1.0, values[2], out=values[2], where=values[2] > 0)
        keys, values = np.append(self._open[0], keys), np.concatenate([self._open[1], values], 1)
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
        keys, values = keys[starts], np.add.reduceat(values, starts, 1)
        if self._first is None:
            self._first = int(keys[0])
        self._open = keys[-1:], values[:, -1:]
        self._close(keys[:-1], values[:, :-1])

    def _close(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Takes distinct keys whose values are complete."""
        if not len(keys):
            return
        before, above = self._sums.add(Points(*values[:3]))
        self._samples.add(before, above)
        self._tail.add(keys, values[3])
        self._last = int(keys[-1])
        for rates, start, reached, total in (
            (RATES, before.negatives, above.negatives, self.totals.negatives),
            (_RECALLS, before.positives, above.positives, self.totals.positives),
        ):
            at = rates * total
            inside = at[(at > start[0]) & (at <= reached[-1])]
            self._edges.append(keys[np.searchsorted(reached, inside)])

    def finish(self) -> PixelCurve:
        """Everything, once all pixels were added."""
        assert self._first is not None
        self._close(*self._open)
        edges = np.unique(np.concatenate(self._edges))
        lowest, highest = (float(score_of_key(np.uint32(key))) for key in (self._last, self._first))
        metrics = {name: float(value) for name, value in self._sums.metrics().items()}
        return PixelCurve(metrics, self._samples, edges, (lowest, highest), self._tail)
