"""The fitted tail: against SciPy's own fit, promises over many splits, images that stand apart."""

import math

import numpy as np
import pytest
from scipy import stats

from hgad_jax.scoring.good import fitted, higher_than, p_value
from hgad_jax.scoring.promise import is_broken, share, surprise
from hgad_jax.scoring.tail import (
    fit_tails,
    rates_above,
    score_of_rate,
    standing_apart,
    tail_threshold,
)
from hgad_jax.scoring.threshold import conformal_threshold

# Scores of good images as they come: logsumexp of standardised pieces has a tail that is nearly exponential.
DISTRIBUTIONS = {
    "exponential": stats.expon(),
    "gumbel": stats.gumbel_r(),
    "gamma": stats.gamma(2.0),
    "normal": stats.norm(),
    "student": stats.t(6),
}


def ones(scores):
    return np.ones(len(scores))


def one_tail(scores, weights=None):
    return fit_tails([scores], [ones(scores) if weights is None else weights])[0]


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.25])
def test_of_many_scores_shape_and_scale_are_those_that_scipy_fits(shape):
    scores = stats.genpareto(shape, scale=2.0).rvs(8000, random_state=0)
    tail = one_tail(scores)
    excess = scores[scores > tail.start] - tail.start
    fitted_shape, _, fitted_scale = stats.genpareto.fit(excess, floc=0)
    assert tail.shape.mean() == pytest.approx(fitted_shape, abs=0.05)
    assert tail.scale.mean() == pytest.approx(fitted_scale, rel=0.05)
    assert tail.above.mean() == pytest.approx(np.mean(scores > tail.start), abs=0.01)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.2])
def test_the_share_above_is_that_of_the_generalised_pareto_distribution(shape):
    tail = one_tail(np.linspace(0.0, 5.0, 60))
    tail = tail._replace(shape=np.full(3, shape), scale=np.array([0.5, 1.0, 2.0]), above=np.full(3, 0.2))
    for score in (tail.start, tail.start + 0.7, tail.start + 4.0):
        expected = 0.2 * stats.genpareto.sf(score - tail.start, shape, scale=tail.scale)
        np.testing.assert_allclose(rates_above(tail, score), expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.3])
def test_a_score_of_a_rate_has_that_rate_and_the_rate_falls(rate):
    tail = one_tail(np.random.default_rng(1).exponential(size=80))
    value = score_of_rate(tail, rate)
    if rate < tail.above.mean():
        assert rates_above(tail, value).mean() == pytest.approx(rate, rel=1e-6)
    falling = [rates_above(tail, score).mean() for score in np.linspace(tail.start, tail.start + 20, 50)]
    assert np.all(np.diff(falling) < 0)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("images", "rate"), [(30, 0.01), (60, 0.005), (200, 0.01), (60, 0.05)])
def test_over_200_samples_the_mean_rate_is_near_the_promise_and_within_the_interval(name, images, rate):
    actual, inside = [], 0
    for seed in range(200):
        scores = [
            DISTRIBUTIONS[name].rvs(images, random_state=np.random.default_rng([seed, k])) for k in range(3)
        ]
        tails = fit_tails(scores, [ones(s) for s in scores])
        found = tail_threshold(tails[0], rate, scores[0], ones(scores[0]), np.zeros(images, bool))
        actual.append(DISTRIBUTIONS[name].sf(found.value))
        inside += found.interval[0] <= actual[-1] <= found.interval[1]
    assert np.mean(actual) < 2 * rate, "a normal tail is shorter, a Student's longer than the prior has it"
    assert inside / 200 > 0.9


def test_thresholds_vary_less_than_conformal_ones():
    by_tail, conformal = [], []
    for seed in range(100):
        scores = DISTRIBUTIONS["gumbel"].rvs(99, random_state=seed)
        by_tail.append(score_of_rate(one_tail(scores), 0.01))
        conformal.append(conformal_threshold(scores, 0.01).value)
    assert np.std(by_tail) < 0.7 * np.std(conformal)


def test_the_shape_is_shared_and_the_scale_is_not():
    few = stats.expon(scale=3.0).rvs(20, random_state=3)
    heavy = stats.genpareto(0.5).rvs(3000, random_state=4)
    alone, together = one_tail(few), fit_tails([few, heavy], [ones(few), ones(heavy)])[0]
    assert together.shape.mean() > alone.shape.mean() + 0.1
    assert together.scale.mean() == pytest.approx(3.0, rel=0.6)


def test_near_duplicates_are_one_witness():
    rng = np.random.default_rng(0)
    scores = rng.gumbel(size=40)
    copies = np.repeat(scores, 6)
    weighted, plain = (
        conformal_threshold(copies, 0.05, np.full(240, 1 / 6)),
        conformal_threshold(scores, 0.05),
    )
    assert weighted.value == plain.value
    assert (weighted.rate, *weighted.interval) == pytest.approx((plain.rate, *plain.interval))
    assert (weighted.groups, weighted.images) == (40, 240)
    once, six = one_tail(scores), one_tail(copies, np.full(240, 1 / 6))
    assert score_of_rate(six, 0.01) == pytest.approx(score_of_rate(once, 0.01), rel=0.1)
    width = [np.ptp(np.quantile(rates_above(t, score_of_rate(t, 0.01)), [0.025, 0.975])) for t in (once, six)]
    assert width[1] == pytest.approx(width[0], rel=0.2), "copies make nothing more certain"


def test_of_groups_the_promise_holds_for_images_of_new_groups():
    """Images of a group share most of their score, as exposures of a part do; without weights it breaks."""
    alarms = {"groups": [], "images": []}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        part, sizes = rng.gumbel(size=41), rng.integers(1, 12, 41)
        scores = [p + 0.1 * rng.normal(size=n) for p, n in zip(part, sizes, strict=True)]
        scores = [s + 3.0 * (len(s) < 3) for s in scores]  # rarely photographed parts are the odd ones
        calibration, new = np.concatenate(scores[:40]), scores[40]
        weights = np.repeat(1 / sizes[:40], sizes[:40])
        for name, w in (("groups", weights), ("images", None)):
            alarms[name].append(np.mean(new > conformal_threshold(calibration, 0.1, w).value))
    deviation = math.sqrt(0.1 * 0.9 / 400)
    assert np.mean(alarms["groups"]) < 0.1 + 3 * deviation
    assert np.mean(alarms["images"]) > 0.1 + 3 * deviation


def test_an_odd_one_stands_apart_and_sets_no_threshold():
    rng = np.random.default_rng(0)
    good = rng.gumbel(size=60)
    for planted in ([19.8], [19.8, 21.0], [15.0, 15.1, 40.0]):
        scores = np.r_[good, planted]
        apart = standing_apart(scores, ones(scores))
        assert np.flatnonzero(apart).tolist() == list(range(60, 60 + len(planted)))
        (found,) = fitted([(scores, ones(scores), np.arange(len(scores)))])
        assert found.images[found.apart].tolist() == sorted(range(60, 60 + len(planted)))
        threshold = tail_threshold(found.tail, 0.01, found.scores, found.weights, found.apart)
        assert threshold.value == pytest.approx(score_of_rate(one_tail(good), 0.01), rel=1e-9)
        assert (threshold.apart, threshold.images) == (len(planted), 60)
        assert threshold.with_apart == max(planted)


def test_of_samples_without_an_odd_one_few_have_one():
    for name in ("exponential", "gumbel", "normal"):
        found = [
            standing_apart(DISTRIBUTIONS[name].rvs(100, random_state=seed), np.ones(100)).any()
            for seed in range(200)
        ]
        assert np.mean(found) < 0.05, name


@pytest.mark.parametrize("scores", [np.full(30, 2.0), np.r_[np.full(29, 2.0), 2.0001]])
def test_scores_that_are_all_alike_have_a_tail_of_no_length(scores):
    (found,) = fitted([(scores, ones(scores), np.arange(30))])
    threshold = tail_threshold(found.tail, 0.01, found.scores, found.weights, found.apart)
    assert np.isfinite(threshold.value)
    assert 2.0 <= threshold.value < 2.01
    assert p_value(found, 3.0) < 1e-3


@pytest.mark.parametrize(("images", "in_tail"), [(10, 5), (20, 8), (32, 8), (80, 20)])
def test_the_tail_is_a_quarter_of_the_scores_and_eight_of_few(images, in_tail):
    scores = np.arange(float(images))
    assert one_tail(scores).start == images - in_tail - 0.5


def test_a_p_value_is_no_larger_than_what_the_scores_themselves_say():
    scores = np.linspace(0, 1, 60)  # ends where a fitted tail goes on
    (found,) = fitted([(scores, ones(scores), np.arange(60))])
    assert rates_above(found.tail, 1.0001).mean() > 1 / 61
    assert p_value(found, 1.0001) == pytest.approx(1 / 61)


def test_too_few_witnesses_have_no_tail():
    nine, ten = (fitted([(np.arange(float(n)), np.ones(n), np.arange(n))])[0] for n in (9, 10))
    assert nine.tail is None
    assert ten.tail is not None
    assert p_value(nine, 100.0) == pytest.approx(1 / 10)
    assert p_value(ten, 100.0) < 1 / 11


def test_p_values_of_new_good_images_are_uniform_and_never_rise_with_the_score():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(300):
        (found,) = fitted([(s := rng.gumbel(size=60), np.ones(60), np.arange(60))])
        values.append(p_value(found, rng.gumbel()))
        ladder = [p_value(found, score) for score in np.linspace(s.min() - 1, s.max() + 5, 60)]
        assert np.all(np.diff(ladder) <= 1e-12)
    assert stats.kstest(values, "uniform").pvalue > 0.01
    for level in (0.02, 0.05, 0.2):
        assert np.mean(np.array(values) <= level) < level + 3 * math.sqrt(level / 300)


def test_p_values_as_people_read_them():
    assert higher_than(0.007) == "99.3 % of good parts"
    assert higher_than(0.5) == "50.0 % of good parts"
    assert higher_than(0.0004) == "99.96 % of good parts"
    assert higher_than(1e-9) == "99.999 % of good parts"


@pytest.mark.parametrize("kind", ["conformal", "tail"])
def test_a_kept_promise_surprises_as_often_as_it_says_and_a_broken_one_is_found(kind):
    kept, broken = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        (good,) = fitted([(rng.exponential(size=80), np.ones(80), np.arange(80))])
        if kind == "tail":
            threshold = tail_threshold(good.tail, 0.05, good.scores, good.weights, good.apart)
        else:
            threshold = conformal_threshold(good.scores, 0.05)
        new = rng.exponential(size=40)
        kept.append(surprise(threshold, good, int(np.sum(new > threshold.value)), 40))
        broken.append(surprise(threshold, good, int(np.sum(2.5 * new + 1 > threshold.value)), 40))
    assert np.mean(np.array(kept) < 0.05) < 0.1
    assert np.mean([is_broken(p, 4) for p in kept]) < 0.02
    assert np.mean([is_broken(p, 4) for p in broken]) > 0.6
    assert surprise(threshold, good, 0, 40) == pytest.approx(1)
    assert surprise(threshold, good, 0, 0) is None
    assert surprise(threshold._replace(kind="manual"), good, 3, 40) is None


def test_a_conformal_promises_surprise_is_the_beta_binomial_distributions():
    scores = np.arange(99.0)
    (good,) = fitted([(scores, np.ones(99), np.arange(99))])
    threshold = conformal_threshold(scores, 0.05)
    expected = stats.betabinom.sf(6, 50, 5, 95)
    assert surprise(threshold, good, 7, 50) == pytest.approx(expected)


def test_a_share_has_clopper_and_pearsons_interval():
    found = share(3, 20)
    assert found.rate == 0.15
    assert found.interval == pytest.approx((stats.beta.ppf(0.025, 3, 18), stats.beta.ppf(0.975, 4, 17)))
    assert share(0, 0).rate is None
