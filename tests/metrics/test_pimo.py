"""AUPIMO against its integral, taken numerically over a grid of rates, and on known cases."""

import numpy as np
import pytest

from hgad_jax.metrics.ordering import descending_key
from hgad_jax.metrics.pimo import HIGH, LOW, NormalTail


def tail_of(good, pieces=1):
    tail = NormalTail(len(good))
    keys, counts = np.unique(descending_key(good), return_counts=True)
    for part in np.array_split(np.arange(len(keys)), pieces):
        tail.add(keys[part], counts[part])
    assert tail.finish()
    return tail


def by_integral(good, defective, steps=20_001):
    """Recall at the lowest threshold whose rate on good pixels is within each rate."""
    scores = np.sort(good)[::-1]
    rates = np.geomspace(LOW, HIGH, steps)
    thresholds = np.unique(np.append(scores, defective))[::-1]
    rate_of = np.searchsorted(-scores, -thresholds, "right") / len(good)  # share of good pixels ≥ threshold
    recall_of = np.searchsorted(-np.sort(defective)[::-1], -thresholds, "right") / len(defective)
    index = np.searchsorted(rate_of, rates, "right") - 1
    recall = np.where(index >= 0, recall_of[np.maximum(index, 0)], 0)
    return np.trapezoid(recall, np.log(rates)) / np.log(HIGH / LOW)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_integral(seed, pieces):
    rng = np.random.default_rng(seed)
    good = np.round(rng.normal(size=300_000), 3).astype(np.float32)
    defective = rng.normal(3.9, 0.4, 500).astype(np.float32)
    found = tail_of(good, pieces).aupimo(descending_key(defective))
    assert 0.1 < found < 0.9
    assert found == pytest.approx(by_integral(good, defective), abs=2e-4)


def test_known_values():
    good = np.linspace(0, 1, 200_001, dtype=np.float32)
    tail = tail_of(good)
    assert tail.aupimo(descending_key(np.array([2.0, 3.0]))) == 1
    assert tail.aupimo(descending_key(np.array([0.5, 0.9]))) == 0
    assert tail.aupimo(descending_key(np.array([2.0, 0.5]))) == pytest.approx(0.5)


def test_too_few_good_pixels_for_the_lowest_rate():
    assert not NormalTail(99_999).finish()
    assert NormalTail(100_000).finish()
