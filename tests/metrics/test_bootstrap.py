"""Resampling: draws have the distribution they should, replicates are the metrics of what was drawn."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from hgad_jax.metrics.bootstrap import Resampler, image_replicates, interval
from hgad_jax.metrics.curves import points_of


def test_draws_one_by_one_are_multinomial():
    """Each stratum keeps its size; an image's draws are binomial, two images' draws as they should covary."""
    strata = {"a": 7, "b": 1}
    resampler = Resampler(strata, 20_000, np.random.default_rng(0))
    drawn = np.stack([resampler.draw("a") for _ in range(7)])
    np.testing.assert_array_equal(resampler.draw("b"), 1)
    np.testing.assert_array_equal(drawn.sum(0), 7)
    for image in (0, 3, 6):
        expected = stats.binom(7, 1 / 7).pmf(np.arange(4)) * 20_000
        found = np.bincount(drawn[image], minlength=8)[:4]
        assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-3
    assert np.cov(drawn[1], drawn[5])[0, 1] == pytest.approx(-7 / 49, abs=0.02)


def case(seed=0, n=60):
    rng = np.random.default_rng(seed)
    labels, classes = rng.random(n) < 0.4, rng.integers(0, 2, n)
    return labels, rng.normal(size=n) + labels, classes


def test_strata_keep_their_sizes_and_seeds_decide(monkeypatch):
    labels, scores, classes = case()
    seen = []
    monkeypatch.setattr("hgad_jax.metrics.bootstrap.points_of", lambda *a: seen.append(a[2]) or points_of(*a))
    found = image_replicates(labels, scores, classes, 30, np.random.default_rng(5))
    for k in (0, 1):
        for kind in (False, True):
            chosen = (classes == k) & (labels == kind)
            np.testing.assert_array_equal(seen[0][:, chosen].sum(1), chosen.sum())
    expected = [roc_auc_score(labels, scores, sample_weight=w) for w in seen[0]]
    np.testing.assert_allclose(found["auroc"], expected)
    again = image_replicates(labels, scores, classes, 30, np.random.default_rng(5))
    other = image_replicates(labels, scores, classes, 30, np.random.default_rng(6))
    np.testing.assert_array_equal(found["ap"], again["ap"])
    assert (found["ap"] != other["ap"]).any()


def test_replicates_in_parts(monkeypatch):
    labels, scores, classes = case()
    monkeypatch.setattr("hgad_jax.metrics.bootstrap._TOGETHER", 7 * len(labels))
    assert image_replicates(labels, scores, classes, 30, np.random.default_rng(0))["auroc"].shape == (30,)


def test_intervals_cover_the_true_value_about_as_often_as_they_say():
    """AUROC of two normal distributions one deviation apart is Φ(1/√2)."""
    truth, inside = stats.norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.arange(120) < 50
        scores = rng.normal(size=120) + labels
        found = image_replicates(labels, scores, np.zeros(120, int), 200, rng)
        low, high = interval(found["auroc"])
        inside += low <= truth <= high
    assert stats.binomtest(inside, 200, 0.94).pvalue > 1e-3, inside


def test_interval_is_the_percentiles():
    assert interval(np.arange(1001)) == pytest.approx([25, 975])
