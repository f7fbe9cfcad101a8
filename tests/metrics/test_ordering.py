"""The sort on disk against `np.sort`, whatever the scores are like and however small the groups."""

import numpy as np
import pytest

from hgad_jax.metrics.ordering import descending_key, keys_of, labels_of, score_of_key, sorted_groups

TINY = np.float32(1e-45)  # the smallest float32 there is


def test_keys_are_in_the_order_of_the_scores():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    scores = np.append(scores[np.isfinite(scores)], [0, -0.0, 1, -1, TINY, -TINY, np.inf, -np.inf])
    keys = descending_key(scores)
    order = np.argsort(keys, kind="stable")
    assert (np.diff(scores[order]) <= 0).all()
    np.testing.assert_array_equal(np.unique(keys).size, np.unique(scores).size)  # 0 and -0 are one
    np.testing.assert_array_equal(score_of_key(keys), scores)


SCORES = {
    "spread": lambda rng: rng.normal(size=3000),
    "large and small": lambda rng: rng.normal(size=3000) * 10.0 ** rng.integers(-40, 38, 3000),
    "crowded in one bin": lambda rng: 1 + rng.integers(0, 3000, 3000) * 2.0**-23,
    "few values": lambda rng: rng.integers(0, 3, 3000),
    "one value": lambda rng: np.zeros(3000),
    "nearly all one value": lambda rng: np.where(rng.random(3000) < 0.99, 0.5, rng.random(3000)),
}


@pytest.mark.parametrize("group_size", [7, 500, 10_000])
@pytest.mark.parametrize("kind", SCORES)
def test_every_score_comes_once_in_order_with_its_label(kind, group_size, tmp_path):
    scores = SCORES[kind](np.random.default_rng(1)).astype(np.float32)
    labels = np.arange(len(scores), dtype=np.uint32)
    parts = [slice(0, 1), slice(1, 1100), slice(1100, 1100), slice(1100, 3000)]
    groups = list(
        sorted_groups(
            lambda: (scores[p] for p in parts),
            lambda: ((scores[p], labels[p]) for p in parts),
            tmp_path,
            group_size,
        )
    )
    assert max(map(len, groups)) <= group_size
    packed = np.concatenate(groups)
    assert sorted(labels_of(packed)) == labels.tolist()
    np.testing.assert_array_equal(keys_of(packed), descending_key(scores[labels_of(packed)]))
    found = score_of_key(keys_of(packed))
    np.testing.assert_array_equal(found, -np.sort(-scores))
    assert not list(tmp_path.iterdir()), "the file on disk has no name"


def test_nothing_to_sort(tmp_path):
    assert list(sorted_groups(list, list, tmp_path)) == []
