"""Pixel metrics from disk against scikit-learn's and `aupro` in memory; intervals; memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from hgad_jax.metrics.dfr import DfrCounts
from hgad_jax.metrics.pixel import RATES, ImagePixels
from hgad_jax.metrics.pixel_images import PIXEL, pixel_metrics
from hgad_jax.metrics.ranked import rank
from hgad_jax.metrics.region import aupro

CLASSES = 3  # the second has no images


def made_up(seed=0, size=32, decimals=2):
    """Grouped images of classes 0 and 2, half of them with up to three rectangles that score higher."""
    rng = np.random.default_rng(seed)
    images = []
    for k in [0] * 10 + [2] * 14:
        mask = np.zeros((size, size), bool)
        for _ in range(rng.integers(0, 4) * (rng.random() < 0.5)):
            y, x = rng.integers(0, size - 9, 2)
            mask[y : y + rng.integers(2, 9), x : x + rng.integers(2, 9)] = True
        scores = np.round(rng.normal(loc=k, size=mask.shape) + 1.5 * mask, decimals).astype(np.float32)
        images.append(ImagePixels(k, bool(mask.any()), scores, mask))
    return images


def measured(images, directory, **options):
    return pixel_metrics(lambda: iter(images), CLASSES, directory, **options)


def stacked(images, k):
    chosen = [image for image in images if k in (image.class_id, CLASSES)]
    return np.stack([i.mask for i in chosen]), np.stack([i.scores for i in chosen])


@pytest.mark.parametrize("group_size", [1000, 2**21])
@pytest.mark.parametrize(("seed", "decimals"), [(0, 0), (1, 2), (2, 7)])
def test_equals_the_metrics_in_memory(seed, decimals, group_size, tmp_path):
    images = made_up(seed, decimals=decimals)
    results = measured(images, tmp_path, group_size=group_size)
    assert results[1] is None
    for k in (0, 2, CLASSES):
        masks, maps = stacked(images, k)
        found = results[k].metrics
        assert tuple(found) == PIXEL
        labels, scores = masks.ravel(), maps.ravel()
        precision, recall, _ = precision_recall_curve(labels, scores)
        assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert found["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        assert found["f1_max"] == pytest.approx(f1.max(), abs=1e-12)
        assert found["aupro"] == pytest.approx(aupro(masks, maps), abs=1e-12)
        counts = DfrCounts(float(maps.min()), float(maps.max()))
        for mask, here in zip(masks, maps, strict=True):
            counts.add(rank(here, mask))
        assert found["aupro_dfr1000"] == pytest.approx(counts.aupro(), abs=1e-12)
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        samples = results[k].samples
        np.testing.assert_allclose(samples.recall[1:], np.interp(RATES[1:], fpr, tpr), atol=1e-12)
        assert samples.overlap[-1] == pytest.approx(1)


def test_only_the_order_of_scores_matters(tmp_path):
    images = made_up()
    changed = [i._replace(scores=np.exp(i.scores / 2) - 3) for i in images]
    before, after = measured(images, tmp_path), measured(changed, tmp_path)
    for name in ("auroc", "ap", "f1_max", "aupro", "aupimo"):
        assert after[3].metrics[name] == pytest.approx(before[3].metrics[name], abs=1e-12)


def test_good_images_alone_have_no_metrics_and_too_few_pixels_no_aupimo(tmp_path):
    images = made_up()
    good = [i for i in images if not i.anomalous]
    assert set(measured(good, tmp_path, replicates=5)[0].metrics.values()) == {None}
    assert measured(images, tmp_path)[3].metrics["aupimo"] is None, "fewer than 100,000 good pixels"
    assert measured([], tmp_path) == [None] * 4


def test_aupimo_is_the_mean_over_defective_images(tmp_path):
    rng = np.random.default_rng(0)
    good = [ImagePixels(0, False, s, np.zeros(s.shape, bool)) for s in rng.random((2, 300, 300), np.float32)]
    mask = np.zeros((300, 300), bool)
    mask[:4, :5] = True
    scores = rng.random((300, 300), np.float32)
    seen, half, missed = (np.where(mask, 2, scores), scores.copy(), np.where(mask, 0, scores))
    half[:2, :5], half[2:4, :5] = 2, 0
    bad = [ImagePixels(0, True, s.astype(np.float32), mask) for s in (seen, half, missed)]
    found = measured(good + bad, tmp_path, replicates=300)[0]
    assert found.metrics["aupimo"] == pytest.approx((1 + 0.5 + 0) / 3)
    drawn = found.replicates["aupimo"]
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert set(np.round(drawn * 6).astype(int)) == set(range(7)), "means of three draws of 0, ½ and 1"


def test_replicates_are_the_metrics_of_resampled_images(tmp_path, monkeypatch):
    """With the draws dictated: each image once, then some images twice and others not at all."""
    images = made_up(3, decimals=3)
    draws = np.random.default_rng(0).integers(0, 3, (len(images), 4))
    draws[:, 0] = 1
    feed = iter(draws)
    with monkeypatch.context() as patch:
        patch.setattr("hgad_jax.metrics.pixel_images.Resampler.draw", lambda self, stratum: next(feed))
        found = measured(images, tmp_path, replicates=4)
    for r in range(4):
        chosen = [i for i, w in zip(images, draws[:, r], strict=True) for _ in range(w)]
        exact = measured(chosen, tmp_path)
        for k in (0, 2, 3):
            for name in ("auroc", "ap", "f1_max", "aupro"):
                tolerance = 1e-12 if r == 0 else 2e-3
                expected = exact[k].metrics[name]
                assert found[k].replicates[name][r] == pytest.approx(expected, abs=tolerance), (k, name)


def test_images_must_be_finite_and_grouped(tmp_path):
    images = made_up()
    with pytest.raises(ValueError, match="must follow each other"):
        measured([*images, images[0]], tmp_path)
    images[3].scores[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 1024 scores"):
        measured(images, tmp_path)


MEMORY = """
import json, sys
import numpy as np
from peak import peak_mb
from hgad_jax.metrics.pixel import ImagePixels
from hgad_jax.metrics.pixel_images import pixel_metrics

def images():
    for i in range(int(sys.argv[1])):
        scores = np.random.default_rng(i).normal(size=(256, 256)).astype(np.float32)
        mask = np.zeros(scores.shape, bool)
        if i % 2:
            mask[20:90, 30:70] = True
            scores[mask] += 1
        yield ImagePixels(0, bool(i % 2), scores, mask)

found = pixel_metrics(images, 1, sys.argv[2], replicates=50)
print(json.dumps([found[0].metrics["auroc"], peak_mb()]))
"""


def peak(images, directory):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(images), str(directory)],
        cwd=Path(__file__).parents[2] / "benchmarks",  # where peak.py is
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def test_memory_does_not_grow_with_the_test_set(tmp_path):
    """10 million pixels; their scores alone would be 42 MB, sorted with their labels 84 MB more."""
    few, before = peak(16, tmp_path)
    many, after = peak(160, tmp_path)
    assert after - before < 25, f"{before:.0f} MB for 16 images, {after:.0f} MB for 160"
    assert few == pytest.approx(0.76, abs=0.01)
    assert many == pytest.approx(0.76, abs=0.01)
