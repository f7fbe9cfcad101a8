"""The promise of rare false alarms, constants and threshold being fitted to the same good images."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from hgad_jax.scoring.combination import by_position
from hgad_jax.scoring.constants import fit_constants, leave_one_out, of_classes
from hgad_jax.scoring.threshold import conformal_threshold

SPLITS, IMAGES, NEW, RATE = 200, 30, 20, 0.1


@jax.jit
def score(maps, constants):
    """As images are scored: standardised by position, the mean of the highest."""
    (level,) = by_position(maps, constants.log_likelihood)
    return jax.lax.top_k(level.reshape(len(level), -1), 3)[0].mean(-1)


@functools.cache
def alarms():
    """False alarms in each split: images left out of their own constants, and not."""
    counts = []
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        spread = np.random.default_rng(1).lognormal(size=(5, 5))  # the same part, positions that differ
        maps = (spread * rng.standard_t(5, size=(IMAGES + NEW, 5, 5))).astype(np.float32)
        good, new = [maps[:IMAGES]], [maps[IMAGES:]]
        labels = np.zeros(IMAGES, int)
        constants = fit_constants(good, good, labels, 1)
        new_scores = np.asarray(score(new, of_classes(constants, np.zeros(NEW, int))))
        fair = score(good, leave_one_out(good, good, labels))
        naive = score(good, of_classes(constants, labels))
        counts.append(
            [np.sum(new_scores > conformal_threshold(np.asarray(s), RATE).value) for s in (fair, naive)]
        )
    return np.array(counts).T


def interval():
    """Of the sum over splits, 99.9 %: each is beta-binomial if scores are exchangeable."""
    k = round((1 - conformal_threshold(np.arange(IMAGES), RATE).rate) * (IMAGES + 1))
    exact = stats.betabinom(NEW, IMAGES + 1 - k, k)
    half = 3.3 * np.sqrt(SPLITS * exact.var())
    return SPLITS * exact.mean() - half, SPLITS * exact.mean() + half


def test_left_out_of_its_own_constants_the_promise_is_kept():
    low, high = interval()
    assert low < alarms()[0].sum() < high


def test_with_its_own_part_in_the_constants_it_would_be_broken():
    assert alarms()[1].sum() > interval()[1]


@pytest.mark.parametrize("share", [0.95])
def test_so_many_splits_are_within_their_interval(share):
    k = round((1 - conformal_threshold(np.arange(IMAGES), RATE).rate) * (IMAGES + 1))
    low, high = stats.betabinom(NEW, IMAGES + 1 - k, k).interval(share)
    within = (alarms()[0] >= low) & (alarms()[0] <= high)
    assert within.mean() > share - 3.3 * np.sqrt(share * (1 - share) / SPLITS)
