"""By what good test images differ from the good images of calibration, where they are rejected too often."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hgad_jax.data.geometry import Transform
from hgad_jax.data.transforms import ImageLike, image_size, load_image
from hgad_jax.errors import UserError
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.inference.scorer import Scorer
from hgad_jax.metrics.ranking import auroc

_MOST = 60  # images of each kind that are looked at
_APART = 0.8  # AUROC from which on a summary is said to differ


def found_shifts(
    scorer: Scorer,
    test: EvalSet,
    classes: dict[str, dict[str, Any]],
    good_images: Mapping[str, ImageLike],
) -> dict[str, list[str]]:
    """Sentences for each class whose promise is broken; none of others.

    Args:
      scorer: the model.
      test: the images.
      classes: results by class.
      good_images: of the training split, by their names; those that were held out are looked at.
    """
    good = scorer.calibration.scores[scorer.mode]
    if not len(good.number):
        return {}  # a run from before names were kept
    found = {}
    for k, name in enumerate(test.classes):
        if not classes[name].get("promise_broken"):
            continue
        names = [scorer.good_names[i] for i in np.asarray(good.number)[np.asarray(good.class_ids) == k]]
        held_out = [good_images[name] for name in names if name in good_images]
        new = [test.records[i].path for i in test.of_class(k) if not test.anomalous[i]]
        found[name] = differences(held_out, new, scorer.transform)
    return found


def differences(before: Sequence[Any], now: Sequence[Any], transform: Transform) -> list[str]:
    """Sentences on brightness, contrast, sharpness and size of images, as far as they differ."""
    old, new = (_summaries(images, transform) for images in (before, now))
    if not len(old) or not len(new):
        return ["the good images of training are no longer where they were: what differs cannot be told"]
    lines = []
    for column, what in enumerate(("brightness", "contrast", "sharpness", "width", "height")):
        a, b = old[:, column], new[:, column]
        labels = np.r_[np.zeros(len(a), bool), np.ones(len(b), bool)]
        value = auroc(labels, np.r_[a, b])
        if value is not None and max(value, 1 - value) >= _APART:
            lines.append(
                f"{what}: {np.median(b):.3g} here, {np.median(a):.3g} in the images of training (medians)"
            )
    return lines or ["brightness, contrast, sharpness and size are alike: it is something else"]


def _summaries(images: Sequence[Any], transform: Transform) -> np.ndarray:
    """`[N, 5]`: mean and deviation of grey levels, mean step between neighbours, width and height."""
    rows = []
    plain = transform._replace(detail=1)
    for image in images[:: -(-len(images) // _MOST) or 1]:
        try:
            pixels = load_image(image, plain).astype(np.float32).mean(2)
            height, width = image_size(image)
        except (UserError, OSError):
            continue  # those that can be read tell
        steps = np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean()
        rows.append((pixels.mean(), pixels.std(), steps, width, height))
    return np.array(rows, np.float64).reshape(-1, 5)
