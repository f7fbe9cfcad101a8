"""Probabilities of classes that can be believed, and limits of what is a known class."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

from hgad_jax.scoring.classes import class_probability, fit_temperature, strangeness_limit


def images(count, temperature, classes=3, seed=0):
    """Log-likelihoods whose softmax at this temperature is the true posterior, and classes drawn from it."""
    rng = np.random.default_rng(seed)
    logits = 2.5 * rng.normal(size=(count, classes))
    probability = np.exp(log_softmax(logits, axis=1))
    labels = (rng.uniform(size=count)[:, None] > probability.cumsum(1)).sum(1)
    offset = 1e5 * rng.normal(size=(count, 1))  # of no meaning: the image's own likelihood
    return logits * temperature + offset, labels


@pytest.mark.parametrize("temperature", [3.0, 400.0, 5e4])
def test_the_temperature_is_found(temperature):
    log_prob, labels = images(4000, temperature)
    assert fit_temperature(log_prob, labels) == pytest.approx(temperature, rel=0.1)


def test_of_the_images_said_to_be_of_a_class_with_p_a_share_p_is():
    log_prob, labels = images(2000, 3000.0)
    new, truth = images(5000, 3000.0, seed=1)
    probability = class_probability(new, fit_temperature(log_prob, labels))
    np.testing.assert_allclose(probability.sum(1), 1)
    found, sure = probability.argmax(1), probability.max(1)
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.0)):
        chosen = (sure > low) & (sure <= high)
        right = (found == truth)[chosen]
        bound = 3.3 * np.sqrt(sure[chosen].mean() * (1 - sure[chosen].mean()) / chosen.sum()) + 0.02
        assert abs(right.mean() - sure[chosen].mean()) < bound
    plain = class_probability(new, 1.0).max(1)
    assert plain.mean() > 0.99, "without a temperature it is sure of everything"


@pytest.mark.parametrize("count", [10, 100])
def test_images_that_are_all_found_do_not_make_it_sure(count):
    """Platt's targets: n of n right allows (n + 1)/(n + 2)."""
    labels = np.arange(count) % 2
    log_prob = np.where(np.eye(2, dtype=bool)[labels], 1000.0, 0.0)
    probability = class_probability(log_prob, fit_temperature(log_prob, labels))
    each = count / 2
    assert probability.max(1) == pytest.approx((each + 1) / (each + 2), abs=1e-3)


def test_a_single_class_is_certain():
    log_prob = np.random.default_rng(0).normal(size=(7, 1)) * 1e6
    assert fit_temperature(log_prob, np.zeros(7, int)) == 1
    assert (class_probability(log_prob, 1.0) == 1).all()


def test_limits_are_as_far_again_as_the_highest_and_exceeded_by_less_than_one_in_n_plus_one():
    exceeded, above_highest = [], []
    for seed in range(400):
        values = stats.skewnorm(5).rvs(40, random_state=seed)
        good, new = values[:39], values[39]
        limit = strangeness_limit(good)
        assert limit - np.median(good) == pytest.approx(2 * (good.max() - np.median(good)))
        exceeded.append(new > limit)
        above_highest.append(new > good.max())
    assert abs(np.mean(above_highest) - 1 / 40) < 3.3 * np.sqrt(1 / 40 / 400)
    assert np.mean(exceeded) < 1 / 80
