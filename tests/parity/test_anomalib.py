"""AUPRO beside anomalib's (2.3 and later); run where the extra `parity` is installed."""

import numpy as np
import pytest
from scipy import ndimage

from hgad_jax.metrics.pixel import ImagePixels
from hgad_jax.metrics.pixel_images import pixel_metrics
from hgad_jax.metrics.region import aupro


def by_anomalib(masks, maps):
    import torch
    from anomalib.metrics.aupro import _AUPRO

    metric = _AUPRO(fpr_limit=0.3)
    for mask, scores in zip(np.array_split(masks, 2), np.array_split(maps, 2), strict=True):
        metric.update(torch.tensor(scores), torch.tensor(mask).int())
    return float(metric.compute())


# anomalib and what it imports warn of their own future
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("growth", [0, 1, 2])
@pytest.mark.parametrize("decimals", [0, 1, 7])
def test_aupro_equals_anomalibs(growth, decimals, tmp_path):
    rng = np.random.default_rng([growth, decimals])
    masks = rng.random((4, 40, 50)) < 0.02
    if growth:
        masks = np.stack([ndimage.binary_dilation(m, np.ones((3, 3)), iterations=growth) for m in masks])
    masks[3] = False
    maps = np.round(rng.normal(size=masks.shape) + (0.5 + growth) * masks, decimals).astype(np.float32)
    expected = by_anomalib(masks, maps)
    assert 0.1 < expected < 0.9
    assert aupro(masks, maps) == pytest.approx(expected, abs=1e-6)  # theirs is float32
    images = [ImagePixels(0, bool(m.any()), s, m) for m, s in zip(masks, maps, strict=True)]
    streamed = pixel_metrics(lambda: iter(images), 1, tmp_path, group_size=1000)[0].metrics["aupro"]
    assert streamed == pytest.approx(expected, abs=1e-6)
