"""Thresholds: the conformal guarantee by simulation, intervals against SciPy, the normalised scale."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from hgad_jax.errors import UserError
from hgad_jax.scoring.threshold import (
    conformal_threshold,
    describe,
    f1_max_threshold,
    fixed_threshold,
    images_needed,
    normalized,
)

# Scores as they come: heavy-tailed, skewed, with an offset per split.
DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "student": lambda rng, n: rng.standard_t(2, size=n),
    "lognormal": lambda rng, n: rng.lognormal(sigma=1.5, size=n),
    "mixture": lambda rng, n: np.where(rng.uniform(size=n) < 0.1, rng.normal(9, 3, n), rng.normal(size=n)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("images", "rate"), [(99, 0.01), (150, 0.05), (37, 0.1), (20, 0.01)])
def test_false_alarms_over_200_splits_are_what_was_promised(name, images, rate):
    """Per split Beta-binomially distributed; their sum within a 99.9 % interval of the promise."""
    splits, new = 200, 100
    rng = np.random.default_rng([images, round(1e4 * rate), *name.encode()])
    alarms = []
    for _ in range(splits):
        scores = rng.permutation(DISTRIBUTIONS[name](rng, images + new))
        threshold = conformal_threshold(scores[:images], rate)
        alarms.append(np.sum(scores[images:] > threshold.value))
    assert threshold.rate <= max(rate, 1 / (images + 1)) + 1e-12
    k = round((1 - threshold.rate) * (images + 1))
    exact = stats.betabinom(new, images + 1 - k, k)
    deviation = math.sqrt(splits * exact.var())
    assert abs(np.sum(alarms) - splits * exact.mean()) < 3.3 * deviation
    assert exact.mean() / new == pytest.approx(threshold.rate), "the promise is the exact mean rate"


@pytest.mark.parametrize("images", [10, 99, 400])
def test_the_interval_covers_the_actual_rate_in_95_of_100_splits(images):
    rng = np.random.default_rng(images)
    covered = []
    for _ in range(1000):
        threshold = conformal_threshold(rng.normal(size=images), 0.05)
        actual = stats.norm.sf(threshold.value)
        covered.append(threshold.interval[0] <= actual <= threshold.interval[1])
    assert abs(np.mean(covered) - 0.95) < 3.3 * math.sqrt(0.95 * 0.05 / 1000)


@pytest.mark.parametrize("images", range(1, 130))
def test_rank_by_brute_force(images):
    """The lowest score that keeps the promise: one rank lower would break it."""
    scores = np.random.default_rng(images).permutation(np.arange(images) * 2.0)
    for rate in (0.01, 0.05, 0.1, 1 / 3):
        found = conformal_threshold(scores, rate)
        keeping = [k for k in range(1, images + 1) if 1 - k / (images + 1) <= rate + 1e-12]
        expected = keeping[0] if keeping else images
        assert found.value == 2.0 * (expected - 1)
        assert found.rate == pytest.approx(1 - expected / (images + 1))
        assert (found.rate <= rate + 1e-12) == (images >= images_needed(rate))


def test_too_few_images_are_said_plainly():
    few, enough = conformal_threshold(np.arange(20.0), 0.01), conformal_threshold(np.arange(99.0), 0.01)
    assert few.value == 19
    assert few.rate == pytest.approx(1 / 21)
    assert "1.00% needs 99 good images held out or, for the fitted tail, 10" in describe(few, 0.01)
    assert "too few" not in describe(enough, 0.01)
    assert "1.00% false alarms promised" in describe(enough, 0.01)


@pytest.mark.parametrize("bad", [np.zeros(0), np.array([1.0, np.nan]), np.array([np.inf]), np.zeros((2, 2))])
def test_scores_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="finite scores in one dimension"):
        conformal_threshold(bad, 0.1)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="expected a share"):
        conformal_threshold(np.arange(5.0), rate)


@pytest.mark.parametrize("above", [0, 1, 7, 50])
def test_a_fixed_threshold_has_clopper_and_pearsons_interval(above):
    scores = np.arange(50.0)
    found = fixed_threshold(scores, 49.5 - above)
    exact = stats.binomtest(above, 50).proportion_ci(0.95)
    assert found.interval == pytest.approx((exact.low, exact.high))
    assert found.rate == pytest.approx((above + 1) / 51)
    assert found.kind == "manual"
    assert "estimated" in describe(found, 0.01)


def test_a_fixed_threshold_without_good_images_promises_nothing():
    found = fixed_threshold(np.zeros(0), 3.0)
    assert (found.rate, found.interval, found.typical) == (1.0, (0.0, 1.0), 3.0)


@pytest.mark.parametrize("seed", range(8))
def test_f1_max_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    anomalous = rng.uniform(size=40) < 0.4
    scores = np.round(rng.normal(size=40) + anomalous, 1)  # with ties
    found = f1_max_threshold(scores, anomalous, scores[~anomalous])
    candidates = np.append(np.unique(scores) - 1e-9, np.inf)
    best = max(f1_score(anomalous, scores > c, zero_division=0) for c in candidates)
    assert f1_score(anomalous, scores > found.value) == pytest.approx(best)
    assert found.value not in scores
    assert found.kind == "f1_max"


@pytest.mark.parametrize("labels", [np.zeros(3, bool), np.ones(3, bool)])
def test_f1_max_needs_both_kinds(labels):
    with pytest.raises(UserError, match=r"both kinds, found \d good and \d defective"):
        f1_max_threshold(np.arange(3.0), labels, np.arange(3.0))


def test_normalized_scores_keep_the_order_and_put_the_threshold_at_a_half():
    threshold = conformal_threshold(np.random.default_rng(0).lognormal(size=200), 0.05)
    scores = np.sort(np.concatenate([np.linspace(-50, 1e6, 4001), [threshold.value]]))
    found = normalized(scores, threshold)
    assert (np.diff(found) > 0).all()
    assert found.min() > 0
    assert found.max() < 1
    assert normalized(threshold.value, threshold) == 0.5
    assert normalized(threshold.typical, threshold) == pytest.approx(0.25)
    assert normalized(2 * threshold.value - threshold.typical, threshold) == pytest.approx(0.75)


def test_normalized_where_all_good_images_score_the_same():
    threshold = conformal_threshold(np.full(9, 2.0), 0.1)
    assert normalized(np.array([1.0, 2.0, 3.0]), threshold) == pytest.approx([0, 0.5, 1], abs=1e-5)
