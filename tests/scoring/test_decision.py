"""Decisions: a rate, a kind of threshold or a number for each class, and what is wrong with one."""

import numpy as np
import pytest

from hgad_jax.config import get_config
from hgad_jax.errors import UserError
from hgad_jax.scoring.calibration import PIXEL_LEVELS, Calibration, GoodScores, pixel_threshold
from hgad_jax.scoring.decision import choose, decide, describe_thresholds, parse_threshold, threshold_of
from hgad_jax.scoring.good import p_value
from hgad_jax.scoring.judged import judge
from hgad_jax.scoring.per_class import parse, rates
from hgad_jax.scoring.threshold import conformal_threshold

CLASSES = ("bolt", "nut", "screw")
COUNTS = (60, 30, 5)


@pytest.fixture(scope="module")
def calibration():
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(3, dtype=np.int32), COUNTS)
    image = rng.gumbel(size=len(ids)).astype(np.float32) + 3 * ids
    pixels = np.sort(rng.gumbel(size=(len(ids), len(PIXEL_LEVELS))).astype(np.float32), axis=1)
    number = np.arange(len(ids), dtype=np.int32)
    scores = GoodScores(image, ids, rng.normal(size=len(ids)), pixels, number, number // 2)
    return Calibration(None, {"inferred": scores}, np.float32(1))


def config(**changes):
    made = get_config("hgad_folder")
    made.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return made


def decided(calibration, **changes):
    return decide(calibration, config(**changes), "inferred", CLASSES)


def own(calibration, k):
    scores = calibration.scores["inferred"]
    return np.asarray(scores.image, float)[np.asarray(scores.class_ids) == k]


def test_by_default_each_class_has_a_tail_if_it_has_images_enough(calibration):
    found = decided(calibration)
    assert [t.kind for t in found.thresholds] == ["tail", "tail", "conformal"]
    assert [t.rate for t in found.thresholds] == [0.01, 0.01, pytest.approx(1 / 4)], "three groups of screws"
    assert [t.groups for t in found.thresholds] == [30, 15, 3]
    lines = describe_thresholds(CLASSES, found)
    assert "1.00% false alarms promised" in lines[0]
    assert "60 good images in 30 groups" in lines[0]
    assert "1.00% needs 99 good images held out or, for the fitted tail, 10" in lines[2]


def test_a_rate_for_each_class(calibration):
    found = decided(calibration, calibration__class_rates=("nut=0.1", "screw=0.3"))
    assert found.rates == (0.01, 0.1, 0.3)
    assert [t.rate for t in found.thresholds] == [0.01, 0.1, pytest.approx(1 / 4)]
    plain = decided(calibration)
    assert found.thresholds[0] == plain.thresholds[0]
    assert found.thresholds[1].value < plain.thresholds[1].value


def test_a_rate_beyond_the_tail_is_that_of_the_scores(calibration):
    found = decided(calibration, calibration__false_alarm_rate=0.4).thresholds[0]
    assert found == conformal_threshold(own(calibration, 0), 0.4, np.full(COUNTS[0], 0.5))


def test_a_kind_or_a_number_for_each_class(calibration):
    found = decided(calibration, scoring__threshold="screw=12.5,bolt=conformal")
    assert [t.kind for t in found.thresholds] == ["conformal", "tail", "manual"]
    assert found.thresholds[2].value == 12.5
    weights = np.full(COUNTS[0], 0.5)
    assert found.thresholds[0] == conformal_threshold(own(calibration, 0), 0.01, weights)
    by_scores = decided(calibration, scoring__threshold="conformal", calibration__false_alarm_rate=0.2)
    assert {t.kind for t in by_scores.thresholds} == {"conformal"}


def test_pixel_thresholds_are_of_the_highest_pixels_or_of_a_share_of_all(calibration):
    scores = calibration.scores["inferred"]
    by_image = decided(
        calibration,
        calibration__pixel_threshold="image",
        scoring__threshold="conformal",
        calibration__false_alarm_rate=0.3,
    )
    highest = np.asarray(scores.pixels, float)[np.asarray(scores.class_ids) == 1, -1]
    found = by_image.pixel_thresholds[1]
    assert found.value == conformal_threshold(highest, 0.3, np.full(COUNTS[1], 0.5)).value
    assert found.typical == pixel_threshold(scores, 1, 0.5).typical
    by_pixels = decided(calibration, calibration__pixel_rate=0.01)
    assert by_pixels.pixel_thresholds == tuple(pixel_threshold(scores, k, 0.01) for k in range(3))


def test_thresholds_at_other_rates_are_those_of_a_decision_at_that_rate(calibration):
    plain = decided(calibration)
    other = decided(calibration, calibration__false_alarm_rate=0.07)
    assert [threshold_of(plain, k, 0.07) for k in range(3)] == list(other.thresholds)
    manual = decided(calibration, scoring__threshold="5")
    assert threshold_of(manual, 0, 0.07) == other.thresholds[0]


def test_runs_that_do_not_know_their_groups_count_images(calibration):
    scores = GoodScores(*calibration.scores["inferred"][:4])
    found = decided(calibration._replace(scores={"inferred": scores}))
    assert [t.groups for t in found.thresholds] == list(COUNTS)


def test_judging_is_by_the_class_scored_as(calibration):
    found = decided(calibration)
    limits = np.array([t.value for t in found.thresholds])
    ids = np.array([0, 1, 2, 0])
    judged = judge(found, ids, np.r_[limits, limits[0] + 1e-6], np.array([0.0, 0.0, 1e6, 0.0]))
    assert judged.anomalous.tolist() == [False, False, False, True]
    assert judged.unknown.tolist() == [False, False, True, False]
    np.testing.assert_allclose(judged.normalized[:3], 0.5)
    assert judged.p_value[0] == p_value(found.good[0], limits[0])
    assert judged.p_value[0] == pytest.approx(0.01, rel=1e-6)
    rejecting = judge(found._replace(unknown="reject"), ids, np.r_[limits, 0.0], np.r_[0.0, 0.0, 1e6, 0.0])
    assert rejecting.anomalous.tolist() == [False, False, True, False]
    assert not rejecting.above.any()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.02, {"": "0.02"}),
        ("0.02", {"": "0.02"}),
        ("nut=0.1, 0.02", {"nut": "0.1", "": "0.02"}),
        ({"nut": 0.1}, {"nut": "0.1"}),
        ("a=b=0.1", {"a=b": "0.1"}),
    ],
)
def test_values_for_classes_are_read(given, expected):
    assert parse(given, name="it") == expected


@pytest.mark.parametrize("given", ["nut=", "", "nut=1,nut=2", "1,2"])
def test_what_is_no_value_for_a_class(given):
    with pytest.raises(UserError, match="The rate is"):
        parse(given, name="The rate")


@pytest.mark.parametrize("rate", ["0", "1", "-0.1", "nan", "inf", "many", "0.51", "bolt=2", "bolt=0"])
def test_what_is_no_rate(rate):
    with pytest.raises(UserError, match=r"false-alarm rate.* expected a number from 1e-09 to 0\.5"):
        choose(config(), false_alarm_rate=rate)


def test_choices_are_put_into_the_config():
    made = config(calibration__class_rates=("nut=0.2",))
    choose(made, false_alarm_rate="bolt=0.05")
    assert rates(made.calibration.class_rates, CLASSES, made.calibration.false_alarm_rate) == (
        0.05,
        0.2,
        0.01,
    )
    choose(made, false_alarm_rate={"bolt": 0.1})
    assert rates(made.calibration.class_rates, CLASSES, 0.01) == (0.1, 0.2, 0.01), "the last one counts"
    choose(made, false_alarm_rate=0.03)
    assert (made.calibration.false_alarm_rate, made.calibration.class_rates) == (0.03, ()), "of all classes"
    choose(made, threshold={"nut": 3, "": "conformal"})
    assert parse_threshold(made.scoring.threshold) == {"nut": 3.0, "": "conformal"}
    choose(made, threshold="bolt=4")
    kept = {"nut": 3.0, "": "conformal", "bolt": 4.0}
    assert parse_threshold(made.scoring.threshold) == kept, "those of the others stay"
    choose(made, false_alarm_rate=0.1)
    choose(made, threshold=7)
    with pytest.raises(UserError, match=r"threshold is set to 7, whatever its rate.*--threshold=tail"):
        choose(made, false_alarm_rate=0.1)


def test_classes_that_are_not_there(calibration):
    for changes in ({"calibration__class_rates": ("cog=0.1",)}, {"scoring__threshold": "cog=1"}):
        with pytest.raises(UserError, match="names the class 'cog', the model knows bolt, nut, screw"):
            decided(calibration, **changes)
