"""Of each level the state is kept under which held-out good images are likeliest, and nothing else."""

import json
import shutil

import jax
import numpy as np
import pytest
from trees import add_class, tiny_config

from hgad_jax.config import get_config
from hgad_jax.data import load_dataset
from hgad_jax.errors import UserError
from hgad_jax.flows.grid import draw_grids
from hgad_jax.runs import checkpoints
from hgad_jax.runs.mesh import data_mesh
from hgad_jax.runs.model import build_model, cached_features
from hgad_jax.runs.training_set import training_set
from hgad_jax.training import loop, selection


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("selection")
    for name in ("brick", "grass"):
        add_class(place / "data", name, test=0)
    return place


def configured(place, **changes):
    return tiny_config(place / "data", place / "cache", **changes)


@pytest.fixture(scope="module")
def untrained(place):
    return jax.device_get(loop.train(configured(place, train__epochs=0.0), place / "untrained"))


def parts(config):
    """Model, training set, and parameters and constants of before the first step."""
    dataset = load_dataset(config.data)
    model = build_model(config, len(dataset.classes))
    cache = cached_features(config, model.levels, dataset.train, config.cache.dir, lambda line: None)
    data = training_set(config, dataset, cache)
    return model, data, *loop.initial_model(config, model, data)


@pytest.mark.parametrize("positions", [0, 5])
def test_what_is_measured_is_the_likelihood_of_held_out_images_under_their_class(
    place, positions, monkeypatch
):
    """That of the maps that images are scored by, at the positions that are looked at."""
    monkeypatch.setattr(selection, "_VECTORS", 10)
    config = configured(place, train__positions=positions)
    model, data, params, constants = parts(config)
    # Couplings that start as the identity would hide what they are told.
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), params)
    found = selection.make_selection(config, model, data, 1, data_mesh()).measure(params, constants)
    features, labels = data.cache.gather(data.held_out), data.labels[data.held_out]
    maps = jax.jit(model.detector.evidence)(params, constants, features, labels).log_likelihood
    maps = maps[model.levels.coarse]  # a bank is not trained
    rng = np.random.default_rng((config.seed, selection._GRIDS))
    grids = draw_grids(rng, model.levels.sizes[model.levels.coarse], positions)
    for level, values in enumerate(maps):
        values = np.asarray(values, np.float64)
        if grids:
            values = values[:, grids[level].rows][:, :, grids[level].columns]
            assert values[0].size <= 5
        np.testing.assert_allclose(found[level], values.mean(), rtol=1e-4)


def test_each_level_is_kept_from_its_own_step():
    def state(value):
        return tuple({"w": np.full(2, value + level, np.float32)} for level in range(3))

    best = selection.Best(state(0), np.array([1, 2, 3], np.float32), np.zeros(3, np.int32))
    best = selection._update(best, state(10), np.array([1.5, 1.9, np.nan], np.float32), np.int32(4))
    best = selection._update(best, state(20), np.array([1.4, 2.5, 3], np.float32), np.int32(8))
    np.testing.assert_array_equal(best.step, [4, 8, 0])
    np.testing.assert_array_equal(best.log_likelihood, np.float32([1.5, 2.5, 3]))
    assert [float(level["w"][0]) for level in best.params] == [10, 21, 2]


def test_training_that_harms_is_undone_and_said(place, untrained):
    messages = []
    config = configured(place, train__learning_rate=0.3, train__warmup_epochs=0.0)
    kept = jax.device_get(loop.train(config, place / "harmed", log=messages.append))
    jax.tree.map(np.testing.assert_array_equal, kept.params, untrained.params)
    (said,) = (message for message in messages if message.startswith("Kept"))
    assert "level 0: step 0 (" in said
    assert "level 1: step 0 (" in said
    logged = [json.loads(line) for line in (place / "harmed" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "level0/held_out" in line] == [2, 4, 6, 8], "every epoch"
    last = configured(
        place, train__learning_rate=0.3, train__warmup_epochs=0.0, train__keep="last", train__epochs=1.0
    )
    other = jax.device_get(loop.train(last, place / "last"))
    assert not np.array_equal(other.params[0].base.centres, untrained.params[0].base.centres)


def test_patience_ends_training_and_the_run_is_then_done(place):
    config = configured(place, train__patience=1.5, train__learning_rate=0.0, train__checkpoint_every=100)
    state = loop.train(config, place / "patient")
    assert int(state.step) == 3, "an epoch and a half, 2 steps each"
    with checkpoints.open_manager(place / "patient", read_only=True) as manager:
        assert manager.all_steps() == [3]
    messages = []
    again = loop.train(config, place / "patient", log=messages.append)
    assert int(again.step) == 3
    assert any("all 3 steps are done" in message for message in messages)
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get((again.params, state.params)))


def test_a_run_that_was_cut_short_knows_the_best_state_of_before(place):
    """The best state is of before the checkpoint that the second half goes on from, and of no later step."""
    config = configured(place, train__learning_rate=0.05, train__warmup_epochs=0.0)
    whole = jax.device_get(loop.train(config, place / "whole"))
    folder = place / "halves"
    shutil.copytree(place / "whole", folder)
    last = max(int(p.name) for p in (folder / "checkpoints").iterdir())
    (folder / "checkpoints" / str(last)).rename(place / "away")
    metrics = (folder / "metrics.jsonl").read_text().splitlines()
    again = jax.device_get(loop.train(config, folder))
    assert (folder / "metrics.jsonl").read_text().splitlines() == metrics
    jax.tree.map(np.testing.assert_array_equal, again, whole)
    held_out = [json.loads(line).get("level0/held_out") for line in metrics]
    found = [value for value in held_out if value is not None]
    assert found.index(min(found)) < 2, "else nothing of before step 4, which it went on from, was needed"


def test_a_detector_without_likelihoods_of_levels_is_refused(place, tmp_path):
    config = get_config("padim_folder")
    config.data.update(root=str(place / "data"), image_size=64)
    config.train.keep = "best"
    with pytest.raises(UserError, match=r"train\.keep is 'best', expected 'last': the detector padim"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists(), "or the corrected command would be refused"


def test_patience_of_less_than_an_epoch_waits_for_the_first_measurement(place):
    config = configured(place, train__patience=0.1)
    model, data, *_ = parts(config)
    found = selection.make_selection(config, model, data, 100, data_mesh())
    best = selection.Best((), np.zeros(2, np.float32), np.zeros(2, np.int32))
    assert found.every == 2, "16 images, 8 a step"
    assert [found.over(best, step) for step in (1, 2)] == [False, True]
