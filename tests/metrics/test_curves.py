"""The fold over thresholds: in pieces as at once, along leading axes as one by one, and its samples."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from hgad_jax.metrics.curves import CurveSamples, CurveSums, Points, curve_metrics, points_of


def case(seed, n=300, levels=40):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.2
    return labels, (rng.integers(0, levels, n) + 5.0 * labels * (rng.random(n) < 0.6))


@pytest.mark.parametrize("levels", [3, 40, 10_000])
@pytest.mark.parametrize("seed", range(3))
def test_ranking_equals_scikit_learn_with_and_without_weights(seed, levels):
    labels, scores = case(seed, levels=levels)
    weights = np.random.default_rng(seed).integers(0, 4, (2, len(labels)))
    found = curve_metrics(points_of(labels, scores, weights))
    for k, w in enumerate(weights):
        precision, recall, _ = precision_recall_curve(labels, scores, sample_weight=w)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        assert found["auroc"][k] == pytest.approx(roc_auc_score(labels, scores, sample_weight=w), abs=1e-12)
        expected = average_precision_score(labels, scores, sample_weight=w)
        assert found["ap"][k] == pytest.approx(expected, abs=1e-12)
        assert found["f1_max"][k] == pytest.approx(f1.max(), abs=1e-12)


@pytest.mark.parametrize("cuts", [[1], [7, 7, 30], list(range(1, 40))])
def test_thresholds_in_pieces_give_the_same_as_at_once(cuts):
    rng = np.random.default_rng(0)
    points = Points(*rng.random((3, 2, 45)))
    totals = Points(*(p.sum(-1) for p in points))
    whole = curve_metrics(points, 0.4)
    sums = CurveSums(totals, 0.4)
    for part in zip(*(np.split(p, cuts, -1) for p in points), strict=True):
        sums.add(Points(*part))
    for name, value in sums.metrics().items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-12)
        assert value.shape == (2,)


def test_without_negatives_or_positives_there_is_nothing_to_tell():
    none, some = np.zeros(3), np.ones(3)
    assert all(np.isnan(v) for v in curve_metrics(Points(none, some, some)).values())
    assert all(np.isnan(v) for v in curve_metrics(Points(some, none, none)).values())
    without_regions = curve_metrics(Points(some, some, none))
    assert np.isnan(without_regions["aupro"])
    assert without_regions["auroc"] == 0.5


@pytest.mark.parametrize("levels", [4, 10_000])
def test_samples_lie_on_the_curve(levels):
    labels, scores = case(1, levels=levels)
    points = points_of(labels, scores)
    totals = Points(*(p.sum(-1) for p in points))
    rates = np.linspace(0, 1, 23)
    samples, sums = CurveSamples(rates, totals), CurveSums(totals)
    for part in zip(*(np.split(p, [2, 3]) for p in points), strict=True):
        samples.add(*sums.add(Points(*part)))
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(samples.recall[1:], np.interp(rates[1:], fpr, tpr), atol=1e-12)
    assert samples.recall[0] == tpr[fpr == 0].max()
