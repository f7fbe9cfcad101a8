"""CFLOW's AUPRO against its recipe, written out with scikit-image's region properties."""

import numpy as np
import pytest
from skimage.measure import label, regionprops

from hgad_jax.metrics.dfr import DfrCounts
from hgad_jax.metrics.ranked import rank


def by_recipe(masks, maps, limit=0.3):
    maps = maps.astype(np.float64)
    highest, lowest = maps.max(), maps.min()
    fprs, pros = [], []
    for k in range(1000):
        found = maps > highest - k * (highest - lowest) / 1000
        overlaps = []
        for mask, here in zip(masks, found, strict=True):
            for region in regionprops(label(mask, connectivity=2)):
                y0, x0, y1, x1 = region.bbox
                overlaps.append(np.sum(here[y0:y1, x0:x1] & region.image_filled) / region.area)
        fprs.append(np.sum(found & ~masks) / np.sum(~masks))
        pros.append(np.mean(overlaps))
    fprs, pros = np.array(fprs), np.array(pros)
    kept = fprs <= limit
    fprs, pros = fprs[kept], pros[kept]
    return np.trapezoid(pros, (fprs - fprs.min()) / (fprs.max() - fprs.min()))


def counted(masks, maps):
    counts = DfrCounts(float(maps.min()), float(maps.max()))
    for mask, scores in zip(masks, maps, strict=True):
        counts.add(rank(scores, mask))
    return counts.aupro()


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_recipe(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 12, 14)) < 0.35  # dense enough for holes and for rings within rings
    masks[2] = False
    maps = (rng.normal(size=masks.shape) + masks).astype(np.float32)
    assert counted(masks, maps) == pytest.approx(by_recipe(masks, maps), abs=1e-12)


def test_a_ring_found_with_its_hole_passes_one():
    masks = np.zeros((1, 9, 9), bool)
    masks[0, 2:7, 2:7] = True
    masks[0, 3:6, 3:6] = False
    maps = np.zeros(masks.shape, np.float32)
    maps[0, 2:7, 2:7] = 1
    maps[0, 0, 0] = 0.5
    found = counted(masks, maps)
    assert found == pytest.approx(by_recipe(masks, maps))
    # 25 pixels are found of a region of 16, at the nine false positives in the hole and at a tenth one.
    assert found == pytest.approx((0.9 * 0.5 + 0.1) * 25 / 16)


def test_a_perfect_map_has_no_false_positive_to_stretch():
    masks = np.zeros((1, 4, 4), bool)
    masks[0, 1, 1] = True
    assert counted(masks, masks.astype(np.float32)) is None
