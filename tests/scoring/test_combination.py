"""Every combination: monotone, local to the image, finite; the standardised ones against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_constants import CLASSES, ENTROPY, LABELS, MAPS, SIZES, moments

from hgad_jax.scoring import paper
from hgad_jax.scoring.combination import COMBINATIONS, by_level, by_position
from hgad_jax.scoring.constants import fit_constants, of_classes
from hgad_jax.scoring.maps import smooth, upsample_and_sum

SIDE = 12
EXPONENTIALS = ("exponential", "log_exponential")
ENTROPY = [np.float32(0.05 * m) for m in ENTROPY]
CONSTANTS = fit_constants(MAPS, ENTROPY, LABELS, CLASSES)
NAMES = pytest.mark.parametrize("name", COMBINATIONS)


def combined(name, maps=MAPS, entropy=ENTROPY, chosen=None, constants=CONSTANTS, labels=LABELS):
    chosen = np.arange(len(maps[0])) if chosen is None else np.asarray(chosen)
    parts = [[jnp.asarray(level[chosen]) for level in term] for term in (maps, entropy)]
    return np.asarray(compiled(name)(*parts, of_classes(constants, labels[chosen])))


@functools.cache
def compiled(name):
    return jax.jit(functools.partial(COMBINATIONS[name], size=SIDE))


@pytest.mark.parametrize("by", [by_position, by_level])
def test_standardizing_counts_deviations_below_the_mean(by):
    found = by(MAPS, of_classes(CONSTANTS.log_likelihood, LABELS))
    for level in range(len(SIZES)):
        for i, k in enumerate(LABELS):
            mean, deviation, level_mean, level_deviation, _ = moments(MAPS[level], k)
            if by is by_level:
                mean, deviation = level_mean, level_deviation
            np.testing.assert_allclose(found[level][i], (mean - MAPS[level][i]) / deviation, atol=2e-5)


def test_good_images_have_mean_zero_and_deviation_one_by_level():
    for maps in by_level(MAPS, of_classes(CONSTANTS.log_likelihood, LABELS)):
        for k in range(CLASSES):
            assert np.mean(maps[k == LABELS]) == pytest.approx(0, abs=1e-5)
            assert np.std(maps[k == LABELS]) == pytest.approx(1, abs=1e-5)


@NAMES
def test_an_image_is_combined_alone_as_in_a_batch(name):
    together = combined(name)
    assert together.shape == (len(LABELS), SIDE, SIDE)
    assert np.isfinite(together).all()
    for i in (0, 5, 23):
        np.testing.assert_allclose(combined(name, chosen=[i])[0], together[i], atol=1e-5)


@NAMES
@pytest.mark.parametrize("term", ["log_likelihood", "negative_entropy"])
def test_the_less_likely_or_sure_the_more_anomalous(name, term):
    worse = {"maps": [m.copy() for m in MAPS], "entropy": [m.copy() for m in ENTROPY]}
    worse["maps" if term == "log_likelihood" else "entropy"][1][0, 1, 1] -= 8
    change = combined(name, **worse) - combined(name)
    assert np.min(change) >= -1e-5
    assert np.max(np.abs(change[1:])) == 0
    if term == "log_likelihood" or "entropy" in name or name == "paper":
        assert np.max(change[0]) > 1e-6
    else:
        assert np.max(change) == 0


def test_sums_and_maxima_of_the_levels():
    standardized = by_level(MAPS, of_classes(CONSTANTS.log_likelihood, LABELS))
    one = [np.asarray(upsample_and_sum((level,), SIDE)) for level in standardized]
    np.testing.assert_allclose(combined("level"), sum(one), atol=1e-5)
    np.testing.assert_allclose(combined("level_max"), np.maximum(*one), atol=1e-5)
    plain = [np.asarray(upsample_and_sum((jnp.asarray(level),), SIDE)) for level in MAPS]
    np.testing.assert_allclose(combined("plain"), -sum(plain), atol=1e-4)


def test_the_exponentials_are_one_monotone_map_of_each_other_at_the_corners():
    """Elsewhere one interpolates before the exponential and the other after it."""
    bounded, unbounded = (combined(name)[:, [0, 0, -1, -1], [0, -1, 0, -1]] for name in EXPONENTIALS)
    np.testing.assert_allclose(len(SIZES) - np.exp(-unbounded.astype(np.float64)), bounded, atol=1e-5)
    assert np.ptp(bounded) > 0.1


def test_paper_is_the_published_map_where_good_images_hold_the_maxima():
    """With the maxima of the calibration images themselves, up to the maximum over the set of the sum."""
    chosen = np.flatnonzero(LABELS == 1)
    terms = [[level[chosen] for level in term] for term in (MAPS, ENTROPY)]
    normal = [upsample_and_sum(tuple(jnp.exp(m - m.max()) for m in term), SIDE) for term in terms]
    expected = np.prod([np.asarray(smooth(len(SIZES) - m, paper.SIGMA)) for m in normal], axis=0)
    np.testing.assert_allclose(combined("paper", chosen=chosen), expected, atol=1e-5)


def test_paper_with_a_single_class_has_the_likelihood_alone():
    labels = np.zeros(len(LABELS), int)
    zeros = [np.zeros_like(m) for m in ENTROPY]
    constants = fit_constants(MAPS, zeros, labels, 1)
    found = combined("paper", entropy=zeros, constants=constants, labels=labels)
    expected = combined("exponential", entropy=zeros, constants=constants, labels=labels)
    np.testing.assert_allclose(found, np.asarray(smooth(jnp.asarray(expected), paper.SIGMA)), atol=1e-6)


@NAMES
def test_maps_that_never_vary_give_finite_scores(name):
    """Held-out images that are copies in other files: no deviation at all."""
    constant = [np.full((6, *size[:2]), -3.0, np.float32) for size in SIZES]
    labels = np.zeros(6, int)
    constants = fit_constants(constant, constant, labels, 1)
    other = [m - 1 for m in constant]
    settings = {"constants": constants, "labels": labels}
    assert np.isfinite(combined(name, constant, constant, **settings)).all()
    assert np.isfinite(combined(name, other, other, **settings)).all()
