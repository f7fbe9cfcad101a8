"""Regions against defects: counted by hand on maps made for it."""

import numpy as np
import pytest
from made_up import evaluated

from hgad_jax.evaluation.region_measures import region_measures


def test_regions_and_defects_are_counted(tmp_path):
    """Defects are the white squares; every map is 0 but for what is put there."""
    with evaluated(tmp_path, ["brick"], test=3) as found:
        test, scored, limit = found.test, found.scored, found.decided.decision.pixel_thresholds[0].value
        bad, good = (np.flatnonzero(test.anomalous == kind) for kind in (True, False))
        for i in range(len(test)):
            scored.maps.write(i, np.zeros((1, *test.mask(i).shape), np.float32))
        hit = bad[0]
        both = np.zeros(test.mask(hit).shape, np.float32)
        both[test.mask(hit)] = limit + 1
        free = np.argwhere(~test.mask(hit))
        corners = [tuple(free[0]), tuple(free[-1])]  # two regions of a pixel each, in opposite corners
        for corner in corners:
            both[corner] = limit + 1
        scored.maps.write(hit, both[None])
        speck = np.zeros_like(both)
        speck[0, 0] = limit + 1
        scored.maps.write(good[0], speck[None])
        of_class = region_measures(test, scored, found.decided.decision)["brick"]
        masks = [int(test.mask(i).sum()) for i in bad]
        assert of_class["defects"] == len(bad)
        assert of_class["touched"] == pytest.approx(1 / len(bad))
        assert of_class["false_regions"] == pytest.approx(2 / len(bad))
        assert of_class["iou"] == pytest.approx(masks[0] / (sum(masks) + 2))
        assert of_class["good_marked"] == pytest.approx(1 / len(good))
        assert of_class["pixel_threshold"] == limit
