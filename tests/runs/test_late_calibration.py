"""A checkpoint from before the end of training has no calibration, and gets the one it would have had."""

import shutil

import jax
import numpy as np
import pytest
from absl import logging
from trees import add_class, save, tiny_config

from hgad_jax.errors import UserError
from hgad_jax.inference.scorer import load_scorer
from hgad_jax.runs import checkpoints
from hgad_jax.runs.late_calibration import late_calibration
from hgad_jax.training.loop import train

REFUSED = r"checkpoints/4 has no thresholds yet(.|\n)*train to the end"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with its first checkpoints."""
    place = tmp_path_factory.mktemp("late")
    add_class(place / "data", "brick")
    add_class(place / "data", "grass")
    train(tiny_config(place / "data", train__checkpoint_every=4, train__keep_checkpoints=9), place / "run")
    return place / "run"


@pytest.fixture
def cut_short(run, tmp_path):
    """The same as if training had been killed after its first checkpoint; its images are its own."""
    place = tmp_path / "run"
    shutil.copytree(run, place)
    for folder in (place / "checkpoints").glob("*"):
        if folder.name != "4":
            shutil.rmtree(folder)
    return place


def items(run):
    with checkpoints.open_manager(run, read_only=True) as manager:
        return {step: set(checkpoints.read_metadata(manager, step)["arrays"]) for step in manager.all_steps()}


def test_the_last_checkpoint_alone_has_a_calibration(run):
    found = items(run)
    assert len(found) > 1
    assert [step for step, names in found.items() if "calibration" in names] == [max(found)]


def test_it_is_what_training_would_have_saved(run):
    scorer = load_scorer(run)
    with checkpoints.open_manager(run, read_only=True) as manager:
        metadata = checkpoints.read_metadata(manager, scorer.step)
    late = late_calibration(run, scorer.model, metadata, *scorer.weights[1:], lambda line: None)
    jax.tree.map(np.testing.assert_array_equal, late, scorer.calibration)


def test_an_unfinished_run_decides(cut_short, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "info", lambda line, *rest: said.append(line))
    scorer = load_scorer(cut_short)
    assert scorer.step == 4
    assert sum("checkpoints/4: saved before training ended" in line for line in said) == 1
    assert all(np.isfinite(t.value) for t in scorer.decision.thresholds)
    assert len(scorer.calibration.scores["given"].image) == len(scorer.good_names) > 0


def test_images_that_are_others_now_are_refused(run, cut_short):
    image = run.parent / "data" / "brick" / "train" / "good" / "00.png"
    before = image.read_bytes()
    save(image, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    try:
        with pytest.raises(
            UserError, match=r"checkpoints/4 has no thresholds yet(.|\n)*00\.png(.|\n)*train to the end"
        ):
            load_scorer(cut_short)
    finally:
        image.write_bytes(before)


def test_images_that_are_gone_are_named(run, cut_short):
    folder = run.parent / "data"
    folder.rename(folder.with_name("elsewhere"))
    try:
        with pytest.raises(
            UserError, match=r"(.|\n)*has no thresholds yet(.|\n)*data(.|\n)*train to the end"
        ):
            load_scorer(cut_short)
    finally:
        folder.with_name("elsewhere").rename(folder)
