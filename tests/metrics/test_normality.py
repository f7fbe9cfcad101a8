"""Kolmogorov-Smirnov statistics against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from hgad_jax.metrics.normality import KSCounts, element_normality, ks_statistic


def latents(seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(3, 4, 5, 6)) * [1, 1.3, 0.5, 1, 1, 1] + [0, 0, 0, 0.4, 8, -40]
    z[..., 1] = np.round(z[..., 1], 1)  # ties
    return z.astype(np.float32)


def by_scipy(z, mean=0.0, deviation=1.0):
    z = ((z.astype(np.float64) - mean) / deviation).reshape(-1, z.shape[-1])
    return np.array([stats.kstest(channel, "norm").statistic for channel in z.T])


def test_equals_scipy():
    z = latents()
    np.testing.assert_allclose(ks_statistic(z), by_scipy(z), atol=1e-12)


def test_against_another_normal_per_element():
    z = latents()
    mean = np.linspace(-1, 1, 4 * 5 * 6).reshape(4, 5, 6)
    np.testing.assert_allclose(ks_statistic(z, mean, 2.0), by_scipy(z, mean, 2.0), atol=1e-12)


@pytest.mark.parametrize("bins", [3, 100, 10_000])
def test_the_streamed_statistic_is_within_its_bounds(bins):
    z = latents()
    counts = KSCounts(6, bins)
    for image in z:
        counts.add(image)
    low, high = counts.bounds()
    exact = ks_statistic(z)
    assert (low <= exact + 1e-12).all()
    assert (exact <= high + 1e-12).all()
    assert (high - low <= 1 / bins + 1e-12).all()


def test_elements_are_those_of_scipy():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(40, 6)) * [1, 1, 1, 0.2, 1, 0] + [0, 0, 3, 0, 0, 1]
    z[:, 4] = rng.exponential(size=40)
    found = element_normality(z)
    ks = [stats.kstest(values, "norm") for values in z.T]
    assert found["ks"] == pytest.approx(np.mean([k.statistic for k in ks]))
    assert found["ks_share"] == np.mean([k.pvalue > 0.05 for k in ks]) == 2 / 6
    normal = [stats.shapiro(values).pvalue > 0.05 for values in z.T[:5]]
    assert found["shapiro_share"] == sum(normal) / 6 == 4 / 6  # a constant is not normal
    assert found["mean_square"] == pytest.approx(np.mean(z**2))
    assert element_normality(z[:2]) is None
