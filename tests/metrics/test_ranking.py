"""Ranking metrics against their definitions, written out."""

import numpy as np
import pytest

from hgad_jax.metrics.ranking import auroc, ranking_metrics


def share_of_pairs(labels, scores):
    """How often an anomalous one scores higher than a good one; a tie counts half."""
    pairs = [(a, g) for a in scores[labels] for g in scores[~labels]]
    return sum(1.0 if a > g else 0.5 if a == g else 0.0 for a, g in pairs) / len(pairs)


def at_thresholds(labels, scores):
    """Precision and recall at every threshold, from the strictest on."""
    for threshold in sorted(set(scores), reverse=True):
        found = scores >= threshold
        hits = np.sum(found & labels)
        yield hits / found.sum(), hits / labels.sum()


def average_precision(labels, scores):
    total = before = 0.0
    for precision, recall in at_thresholds(labels, scores):
        total, before = total + (recall - before) * precision, recall
    return total


def f1_max(labels, scores):
    return max(2 * p * r / (p + r) if p + r else 0.0 for p, r in at_thresholds(labels, scores))


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definitions_with_ties(levels, seed):
    rng = np.random.default_rng(seed)
    labels = rng.random(40) < 0.3
    labels[:2] = True, False
    scores = rng.integers(0, levels, 40) / levels + 0.3 * labels * (rng.random(40) < 0.7)
    found = ranking_metrics(labels, scores)
    assert found.keys() == {"auroc", "ap", "f1_max"}
    assert found["auroc"] == pytest.approx(share_of_pairs(labels, scores), abs=1e-12)
    assert auroc(labels, scores) == pytest.approx(share_of_pairs(labels, scores), abs=1e-12)
    assert found["ap"] == pytest.approx(average_precision(labels, scores), abs=1e-12)
    assert found["f1_max"] == pytest.approx(f1_max(labels, scores), abs=1e-12)


def test_known_values():
    labels = np.array([0, 0, 1, 1])
    assert ranking_metrics(labels, np.array([1.0, 2, 3, 4])) == {"auroc": 1, "ap": 1, "f1_max": 1}
    worst = ranking_metrics(labels, np.array([4.0, 3, 2, 1]))
    assert worst["auroc"] == 0
    assert worst["ap"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert worst["f1_max"] == pytest.approx(2 / 3)
    constant = ranking_metrics(labels, np.zeros(4))
    assert constant["auroc"] == 0.5
    assert constant["ap"] == 0.5


def test_any_shape_and_any_numeric_label():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (2, 3, 4)), rng.random((2, 3, 4)).astype(np.float32)
    assert ranking_metrics(labels, scores) == ranking_metrics(labels.ravel().astype(bool), scores.ravel())
    assert auroc(labels, scores) == auroc(labels.ravel().astype(bool), scores.ravel())


@pytest.mark.parametrize("metric", [ranking_metrics, auroc])
def test_one_kind_of_label_has_no_ranking(metric):
    assert metric(np.ones(3), np.arange(3.0)) is None
    assert metric(np.zeros(3), np.arange(3.0)) is None


@pytest.mark.parametrize("metric", [ranking_metrics, auroc])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(metric, bad):
    with pytest.raises(ValueError, match="1 of 3 scores are not finite"):
        metric(np.array([0, 1, 0]), np.array([0.0, bad, 1.0]))
