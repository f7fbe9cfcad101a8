"""What a list of images tells is refused before anything is decoded."""

import numpy as np
import pytest
from absl import logging

from hgad_jax.config import get_config
from hgad_jax.data.problems import NOTE
from hgad_jax.data.records import Record
from hgad_jax.data.split import num_held_out
from hgad_jax.errors import UserError
from hgad_jax.runs import early, model
from hgad_jax.scoring.threshold import conformal_threshold
from hgad_jax.training import loop


def images(counts, *, test=0):
    """Records of files that are not there: nothing may open them."""
    records = [
        Record(f"/nowhere/{name}/{i}.png", name, "train", "good")
        for name, count in counts.items()
        for i in range(count)
    ]
    return records + [Record(f"/nowhere/t{i}.png", next(iter(counts)), "test", "bent") for i in range(test)]


def told(config, counts, *, test=0):
    found = early.problems(config, tuple(counts), images(counts, test=test))
    errors = [problem.text() for problem in found if problem.level != NOTE]
    return errors, [problem.text() for problem in found if problem.level == NOTE]


def with_changes(module, **changes):
    config = get_config(module)
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


@pytest.mark.parametrize(
    ("module", "changes", "counts", "expected"),
    [
        ("hgad_folder", {}, {"nut": 1, "bolt": 3}, ["Class 'nut' has 1 good", "Class 'bolt' has 3 good"]),
        ("hgad_folder", {"data.classes": "cluster:5"}, {"nut": 19}, ["19 good images for the 5 groups"]),
        ("hgad_folder", {"data.classes": "cluster:41"}, {"nut": 200}, ["41 classes, but the tap 'blocks.2'"]),
        ("hgad_folder", {}, {f"{i}": 9 for i in range(41)}, ["41 classes, but the tap 'blocks.2'"]),
        (
            "hgad_folder",
            {"scoring.terms": "entropy"},
            {"nut": 9},
            ["with a single class its entropy is"],
        ),
        ("hgad_folder", {"eval.window": (1, 2)}, {"nut": 9}, ["config.eval.window is (1, 2), expected ()"]),
        (
            "hgad_folder",
            {},
            {"mean": 9, "nut": 9, "unknown": 9},
            ["another meaning in the tables"],
        ),
        ("hgad_folder", {}, {"pooled": 9, "published": 9}, ["another meaning in the tables"]),
        ("spade_folder", {"detector.gallery": 2}, {"a": 9, "b": 9, "c": 9}, ["gallery is 2, too few"]),
        ("fastflow_folder", {"train.positions": 4}, {"nut": 9}, ["train.positions is 4, expected 0"]),
        ("padim_folder", {"train.keep": "best"}, {"nut": 9}, ["train.keep is 'best', expected 'last'"]),
    ],
)
def test_refused(module, changes, counts, expected):
    config = with_changes(module, **{key.replace(".", "__"): value for key, value in changes.items()})
    errors, _ = told(config, counts)
    assert len(errors) == len(expected), errors
    for error, part in zip(errors, expected, strict=True):
        assert part in error
    with pytest.raises(UserError) as refused:
        early.refuse(config, tuple(counts), images(counts))
    assert str(refused.value) == "\n".join(errors)


@pytest.mark.parametrize(
    ("config", "counts", "test"),
    [
        (with_changes("hgad_folder"), {"nut": 4}, 0),
        (with_changes("hgad_folder"), {f"{i}": 4 for i in range(40)}, 0),
        (with_changes("hgad_folder", backbone__taps=("blocks.4",)), {f"{i}": 4 for i in range(41)}, 0),
        (with_changes("hgad_folder", data__classes="cluster:5"), {"nut": 20}, 0),
        (with_changes("hgad_folder", eval__window=(1, 2)), {"nut": 4}, 1),
        (with_changes("hgad_folder", data__classes="cluster:5"), {"unknown": 20}, 0),
        (with_changes("hgad_folder"), {"Mean": 4, "unknown2": 4}, 0),
        (with_changes("cflow_folder"), {f"{i}": 4 for i in range(41)}, 0),
        (with_changes("padim_folder"), {"nut": 4}, 0),
        (with_changes("spade_folder"), {"nut": 4}, 0),
    ],
)
def test_not_refused(config, counts, test):
    assert told(config, counts, test=test)[0] == []


@pytest.mark.parametrize(
    ("window", "every", "epochs", "measured"),
    [
        ((10, 16), 1.0, 16.0, True),
        ((17, 300), 1.0, 16.0, False),
        ((100, 300), 1.0, 16.0, False),
        ((1.1, 1.9), 1.0, 16.0, False),  # between two evaluations
        ((0, 3), 5.0, 16.0, False),  # before the first one
        ((0, 0), 1.0, 16.0, False),
        ((0.3, 0.3), 0.1, 1.0, True),
        ((1, 2), 1.0, 0.0, False),  # an untrained model
    ],
)
def test_a_window_in_which_nothing_would_be_measured(window, every, epochs, measured):
    config = with_changes("hgad_folder", eval__window=window, eval__every=every, train__epochs=epochs)
    errors, _ = told(config, {"nut": 9}, test=1)
    assert bool(errors) == (not measured)
    if errors:
        assert "but no evaluation falls into it" in errors[0]
        assert f"up to epoch {epochs:g} (config.train.epochs)" in errors[0]


def test_a_window_that_training_does_not_get_to_the_end_of():
    """Its mean and deviation would be those of another window than the one that stands above them."""
    errors, _ = told(with_changes("hgad_folder", eval__window=(10, 17)), {"nut": 9}, test=1)
    assert "config.eval.window is (10, 17), but training ends at epoch 16" in errors[0]


def test_the_rate_that_can_be_promised_is_that_of_the_threshold():
    config = with_changes("hgad_folder", calibration__false_alarm_rate=0.02, scoring__threshold="conformal")
    held_out = num_held_out(
        100, fraction=config.calibration.fraction, min_images=config.calibration.min_images
    )
    promised = conformal_threshold(np.arange(held_out), 0.02).rate
    _, (note, *_) = told(config, {"nut": 100, "bolt": 400})
    assert f"{promised:.1%} instead of 2.0% for nut ({held_out} held out)" in note
    assert "bolt" not in note
    (count,) = (int(word) for word in note.replace(",", "").split() if word.isdigit() and int(word) > 300)
    fewer, enough = (
        conformal_threshold(np.arange(num_held_out(n, fraction=0.15, min_images=10)), 0.02).rate
        for n in (count - 1, count)
    )
    assert fewer > 0.0201
    assert enough == pytest.approx(0.02)


def test_one_threshold_for_all_classes_counts_all_of_them():
    counts = {f"{i}": 66 for i in range(10)}
    by_scores = {"scoring__threshold": "conformal"}
    per_model = with_changes("hgad_folder", calibration__threshold_per="model", **by_scores)
    assert told(per_model, counts)[1] == []
    (note,) = told(with_changes("hgad_folder", **by_scores), counts)[1]
    of = "9.1% instead of 1.0% for"
    assert f"{of} 1 (10 held out); {of} 2 (10 held out); 7 classes more" in note
    (note,) = told(per_model, {"nut": 66})[1][:1]
    assert f"{of} all classes (10 held out)" in note


def test_the_fitted_tail_takes_ten_images_and_each_class_has_its_rate():
    config = with_changes("hgad_folder", calibration__class_rates=("nut=0.3",))
    assert told(config, {"nut": 66, "bolt": 66})[1] == []
    (note, *_) = told(config, {"nut": 9, "bolt": 9})[1]
    assert "20.0% instead of 1.0% for bolt (4 held out)" in note
    assert "nut" not in note
    for key, value in (("calibration__class_rates", ("cog=0.02",)), ("scoring__threshold", "cog=3.5")):
        with pytest.raises(UserError, match="names the class 'cog', the model knows nut, bolt"):
            told(with_changes("hgad_folder", **{key: value}), {"nut": 66, "bolt": 66})


def test_a_rate_that_no_number_of_images_promises():
    never = with_changes("hgad_folder", calibration__fraction=1e-4, scoring__threshold="conformal")
    (note,) = told(never, {"nut": 5000})[1]
    assert "Enough would be 198 with --config.calibration.fraction=0.5" in note


def test_few_steps_are_told_with_their_number():
    config = with_changes("hgad_folder", train__batch_size=100)
    assert any("16 epochs are 4 steps" in note for note in told(config, {"nut": 30})[1])
    config.data.tiles = 3
    assert not any("steps" in note for note in told(config, {"nut": 30})[1])


def test_training_refuses_before_it_decodes(tmp_path, monkeypatch):
    def never(*args, **options):
        raise AssertionError("nothing may be decoded")

    config = with_changes("hgad_folder", data__root=str(tmp_path))
    for i in range(3):
        path = tmp_path / "nut" / "train" / "good" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(model, "screened", never)
    with pytest.raises(UserError, match="Class 'nut' has 3 good images"):
        loop.train(config, tmp_path / "run", log=logging.info)
    assert not (tmp_path / "run").exists()
