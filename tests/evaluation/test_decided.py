"""Decisions: by the threshold of the class that an image was scored as, and by its strangeness."""

import numpy as np
import pytest
from made_up import evaluated

from hgad_jax.evaluation.decided import decide, decision_counts, scale_of_good
from hgad_jax.evaluation.scored import Scored
from hgad_jax.scoring.decision import Decision
from hgad_jax.scoring.good import fitted
from hgad_jax.scoring.threshold import Threshold


def threshold(value, typical=0.0):
    return Threshold(value, 0.01, (0.0, 0.1), 100, "conformal", typical)


def test_each_image_by_the_class_it_was_scored_as():
    scored = Scored(
        image=np.array([1.5, 1.5, 1.0, 0.2, 9.0]),
        class_ids=np.array([0, 1, 0, 0, 1]),
        maps=None,
        strangeness=np.array([0.0, 0.0, 0.0, 5.0, 5.0]),
        likelihood=None,
        pieces=np.zeros((5, 0)),
        piece_names=(),
    )
    good = fitted([(np.arange(5.0), np.ones(5), np.arange(5))] * 2)
    limits = (threshold(1.0), threshold(2.0))
    decision = Decision(limits, limits, np.array([4.0, 4.5]), (0.01, 0.01), good, good, "warn")
    decided = decide(scored, decision)
    assert decided.judged.anomalous.tolist() == [True, False, False, False, True], "above, not at"
    assert decided.judged.unknown.tolist() == [False, False, False, True, True], "whatever the score"
    assert decided.judged.p_value.tolist() == [4 / 6, 4 / 6, 5 / 6, 5 / 6, 1 / 6]
    assert decided.judged.unknown_p_value.tolist() == [1.0, 1.0, 1.0, 1 / 6, 1 / 6]
    rejected = decide(scored, decision._replace(unknown="reject")).judged
    assert rejected.anomalous.tolist() == [True, False, False, True, True]
    assert rejected.above.tolist() == [True, False, False, False, True]
    assert decided.level[2] == 0.5
    assert (decided.level[[0, 4]] > 0.5).all()
    assert (decided.level[[1, 3]] < 0.5).all()


def test_counts_are_of_the_true_classes(tmp_path):
    with evaluated(tmp_path, ["brick", "grass"]) as found:
        counts, test, decided = decision_counts(found.test, found.decided), found.test, found.decided
        for k, name in enumerate(("brick", "grass")):
            own = test.labels == k
            called, bad = decided.judged.anomalous[own], test.anomalous[own]
            assert counts[name]["false_alarms"] == np.sum(called & ~bad)
            assert counts[name]["misses"] == np.sum(~called & bad)
            assert counts[name]["unknown"] == np.sum(decided.judged.unknown[own])
            assert counts[name]["miss_rate"] == pytest.approx(np.mean(~called[bad]))
            low, high = counts[name]["miss_rate_ci"]
            assert low <= counts[name]["miss_rate"] <= high
        assert decided.judged.unknown.sum() == 1
        assert 0 < sum(c["misses"] + c["false_alarms"] for c in counts.values()) < len(test)


def test_colours_without_thresholds_come_from_good_images(tmp_path):
    with evaluated(tmp_path, ["brick"]) as found:
        scale = scale_of_good(found.test, found.scored, 0)
        good = [i for i in range(len(found.test)) if not found.test.anomalous[i]]
        pixels = np.stack([found.scored.maps.read(i, i + 1)[0] for i in good])
        assert scale.typical == pytest.approx(np.median(pixels), rel=0.02)
        assert 0 < np.mean(pixels > scale.value) < 0.004
