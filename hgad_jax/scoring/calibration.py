"""What held-out good images tell of scores, kept with the model: all that turns a score into a decision.

Constants make maps comparable (`constants.py`). The scores of the held-out images themselves, obtained as
those of new images will be but for constants that leave the image out, give thresholds (`threshold.py`) of
any false-alarm rate; their pixels' distribution gives the heat map's; their strangeness tells when an
image is of no known class; their class likelihoods tell how far the probability of a class can be believed.
"""

from typing import Any, NamedTuple

import numpy as np

from hgad_jax.scoring.constants import Constants, abstract_constants
from hgad_jax.scoring.threshold import Threshold
from hgad_jax.types import Array, Scalar, abstract_array

# Where each image's pixel scores are sampled: the quartiles, then ten per decade of the upper tail, and the
# maximum.
PIXEL_LEVELS = np.array([0.0, 0.25, 0.5, 0.75, *(1 - 10.0 ** -(np.arange(7, 51) / 10)), 1.0])


class GoodScores(NamedTuple):
    """Of the held-out good images, sorted by the class they were scored as, then by their score."""

    image: Array  # [N] float32
    class_ids: Array  # [N] int32, the class each was scored as
    strangeness: Array  # [N] float32
    pixels: Array  # [N, len(PIXEL_LEVELS)] float32, quantiles of each image's pixel scores
    # Of runs from before there were such: nothing.
    number: Array | tuple[()] = ()  # [N] int32, which of the held-out images it is
    group: Array | tuple[()] = ()  # [N] int32, near-duplicates have the same


class UnnamedGoodScores(NamedTuple):
    """The same as runs kept it that did not say which images scores are of."""

    image: Array
    class_ids: Array
    strangeness: Array
    pixels: Array


class Calibration(NamedTuple):
    """What is stored with a model."""

    constants: Constants
    scores: dict[str, Any]  # `GoodScores` by where the class came from: "given", "inferred", maybe "mixture"
    temperature: Scalar  # [] float32, of the class probabilities; see `classes.py`


def modes(classes: str) -> tuple[str, ...]:
    """The ways of `config.scoring.classes` that a run is calibrated for.

    The mixture costs a pass of the flow per class, so that it is there only where it was asked for.
    """
    return ("given", "inferred", "mixture") if classes == "mixture" else ("given", "inferred")


def sort_scores(scores: GoodScores) -> GoodScores:
    """The same images, by class scored as and then by score."""
    order = np.lexsort((np.asarray(scores.image), np.asarray(scores.class_ids)))
    return GoodScores(*(np.asarray(array)[order] for array in scores if len(array)))


def abstract_calibration(
    sizes: Any, num_classes: int, *, num_images: int, classes: str, pieces: int = 0, named: bool = True
) -> Calibration:
    """Shapes and dtypes of a calibration, to restore one into.

    Args:
      sizes: (h, w, C) of each level.
      num_classes: K.
      num_images: held out, N.
      classes: `config.scoring.classes`.
      pieces: see `abstract_constants`.
      named: whether it says which images and groups scores are of.
    """
    made = GoodScores if named else UnnamedGoodScores
    scores = made(
        abstract_array(num_images),
        abstract_array(num_images, dtype=np.int32),
        abstract_array(num_images),
        abstract_array(num_images, len(PIXEL_LEVELS)),
        *([abstract_array(num_images, dtype=np.int32)] * (2 if named else 0)),
    )
    constants = abstract_constants(sizes, num_classes, pieces=pieces)
    return Calibration(constants, dict.fromkeys(modes(classes), scores), abstract_array())


def pixel_threshold(scores: GoodScores, class_id: int | None, rate: float) -> Threshold:
    """The pixel score that a share of good images' pixels is above.

    The interval is a bootstrap over images, not over pixels: those of an image are anything but independent.

    Args:
      scores: of the held-out good images.
      class_id: among the images scored as this class; None for all.
      rate: share of pixels, averaged over images.
    """
    quantiles = _pixels(scores, class_id)

    def above(value):
        return np.array([1 - np.interp(value, image, PIXEL_LEVELS) for image in quantiles])

    low, high = quantiles.min(), quantiles.max()
    for _ in range(60):  # bisection: the share above falls as the value grows
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle).mean() > rate else (low, middle)
    shares = above(high)
    resampled = shares[np.random.default_rng(0).integers(len(shares), size=(1000, len(shares)))].mean(1)
    least, most = (float(v) for v in np.quantile(resampled, [0.025, 0.975]))
    typical = typical_pixel(scores, class_id)
    return Threshold(float(high), float(shares.mean()), (least, most), len(quantiles), "pixels", typical)


def typical_pixel(scores: GoodScores, class_id: int | None) -> float:
    """The median over good images of their median pixel score; arguments as of `pixel_threshold`."""
    return float(np.median(_pixels(scores, class_id)[:, PIXEL_LEVELS == 0.5]))


def _pixels(scores: GoodScores, class_id: int | None) -> np.ndarray:
    """Quantiles of the images scored as a class, `[n, levels]`; of all if there are none."""
    chosen = np.asarray(scores.class_ids) == class_id
    if class_id is None or not chosen.any():
        chosen = slice(None)
    return np.asarray(scores.pixels, np.float64)[chosen]
