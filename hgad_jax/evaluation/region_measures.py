"""How well regions above the threshold of pixels are the defects, on images whose defects are known."""

from typing import Any, cast

import numpy as np
from scipy import ndimage

from hgad_jax.evaluation.scored import Scored
from hgad_jax.inference.eval_set import EvalSet
from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.promise import share


def region_measures(test: EvalSet, scored: Scored, decision: Decision) -> dict[str, dict[str, Any]]:
    """Of each class with masks.

    Returns:
      By class: `pixel_threshold`; `defects`, connected defects, and the share of them that a region touches
      (`touched`, with its interval); `iou`, pixels in both over pixels in either, of all its defective images
      together; `false_regions`, regions a defective image that touch no defect; `good_marked`, the share of
      good images with any region, with its interval. What there are no images for is None.
    """
    found = {}
    for k, name in enumerate(test.classes):
        indices = [i for i in test.of_class(k) if test.has_truth[i]]
        if any(test.anomalous[i] for i in indices):
            found[name] = _of_class(test, scored, decision, indices)
    return found


def _of_class(test: EvalSet, scored: Scored, decision: Decision, indices: list[int]) -> dict[str, Any]:
    defects = touched = false = both = either = images = good = marked = 0
    for i in indices:
        seen = test.box(i).slices
        limit = decision.pixel_thresholds[int(scored.class_ids[i])].value
        above = scored.maps.read(i, i + 1)[0][seen] > limit
        if not test.anomalous[i]:
            good, marked = good + 1, marked + bool(above.any())
            continue
        mask = test.mask(i)[seen]
        number, hit = _touching(mask, above)
        regions, true = _touching(above, mask)
        images, defects, touched = images + 1, defects + number, touched + hit
        both, either = both + np.sum(above & mask), either + np.sum(above | mask)
        false += regions - true
    of_defects, of_good = share(touched, defects), share(marked, good)
    return {
        "pixel_threshold": decision.pixel_thresholds[int(test.labels[indices[0]])].value,
        "defects": defects,
        "touched": of_defects.rate,
        "touched_ci": of_defects.interval and list(of_defects.interval),
        "iou": float(both / either) if either else None,
        "false_regions": false / images,
        "good_marked": of_good.rate,
        "good_marked_ci": of_good.interval and list(of_good.interval),
    }


def _touching(regions: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """How many connected regions there are, and how many of them have a pixel in the other."""
    # A cast, since SciPy returns a number alone where it is given an array for the labels.
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(regions))
    return int(count), len(np.unique(labels[other & regions]))
