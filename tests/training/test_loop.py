"""Training end to end: the same twice, the same when interrupted, and honest about what went wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from trees import ROOT, add_class, tiny_config

from hgad_jax.config import get_config
from hgad_jax.data import load_dataset
from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints
from hgad_jax.runs.model import abstract_model, abstract_model_calibration, build_model, cached_features
from hgad_jax.runs.training_set import training_set
from hgad_jax.training import loop

STEPS = 8  # 16 images to train on, 8 a step, 4 epochs; checkpoints at 4 and 8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two classes of good images; the runs of this module share one cache of features."""
    place = tmp_path_factory.mktemp("loop")
    for name in ("brick", "grass"):
        add_class(place / "data", name, test=0)
    return place


@pytest.fixture(scope="module")
def config(place):
    return tiny_config(place / "data", place / "cache")


@pytest.fixture(scope="module")
def finished(place, config):
    """A run that nothing disturbed: its folder and final parameters."""
    messages, compiled = [], []

    def make(*args, make_train_step=loop.make_train_step, **kwargs):
        compiled.append(make_train_step(*args, **kwargs))
        return compiled[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "make_train_step", make)
        state = loop.train(config, place / "finished", log=messages.append)
    assert any("16 good images to train on, 8 to calibrate on" in message for message in messages), messages
    assert [step._cache_size() for step in compiled] == [1], "compiled once, whatever the stage"
    return place / "finished", jax.device_get(state)


def lines(directory):
    return (directory / "metrics.jsonl").read_text().splitlines()


def steps(directory):
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit())


def contents(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def restored(directory, config, step):
    model = build_model(config, 2)
    with checkpoints.open_manager(directory, read_only=True) as manager:
        num_images = checkpoints.read_metadata(manager, step)["calibration_images"]
        calibration = abstract_model_calibration(config, model, num_images)
        abstract = abstract_model(model) | {"calibration": calibration}
        return jax.device_get(checkpoints.restore(manager, step, abstract))


def test_logs_every_step_and_keeps_checkpoints(finished, config):
    directory, state = finished
    logged = [json.loads(line) for line in lines(directory)]
    assert [line["step"] for line in logged] == list(range(1, STEPS + 1))
    assert all(np.isfinite(list(line.values())).all() for line in logged)
    assert {"loss", "gradient_norm", "level0/likelihood", "level1/intra"} <= logged[0].keys()
    assert steps(directory) == [4, 8]
    assert int(state.step) == STEPS
    same(restored(directory, config, STEPS)["params"], state.params)
    assert logged[3]["level0/likelihood"] < logged[0]["level0/likelihood"]


def test_one_seed_gives_the_same_losses_and_parameters(finished, place, config):
    directory, state = finished
    again = loop.train(config, place / "again")
    assert lines(place / "again") == lines(directory)
    same(jax.device_get(again), state)


KILLED = """
import os, signal, sys, time
from pathlib import Path
import stub_backbone
from trees import tiny_config
from hgad_jax.training import loop

stub_backbone.add()
data, cache, workdir = map(Path, sys.argv[1:])

class Dying(loop.MetricLog):
    def write(self, step, metrics):
        super().write(step, metrics)
        if step == 6:
            deadline = time.monotonic() + 60
            while not (workdir / "checkpoints" / "4").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            with (workdir / "metrics.jsonl").open("a") as file:
                file.write('{"step": 7, "lo')
            os.kill(os.getpid(), signal.SIGKILL)

loop.MetricLog = Dying
loop.train(tiny_config(data, cache), workdir)
"""


def test_a_killed_run_goes_on_as_if_nothing_had_happened(finished, place, config):
    directory, state = finished
    killed = place / "killed"
    arguments = [str(path) for path in (place / "data", place / "cache", killed)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "JAX_NUMPY_RANK_PROMOTION": "raise"}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env=environment, capture_output=True, timeout=300
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
    assert steps(killed) == [4]
    assert len(lines(killed)) == 7
    messages = []
    resumed = loop.train(config, killed, log=messages.append)
    assert "Going on from step 4" in messages
    assert lines(killed) == lines(directory)
    same(jax.device_get(resumed), state)
    same(restored(killed, config, STEPS), restored(directory, config, STEPS))


def test_a_finished_run_is_left_as_it_is(finished, config):
    directory, state = finished
    before, messages = contents(directory), []
    again = loop.train(config, directory, log=messages.append)
    assert any("all 8 steps are done; nothing to train" in message for message in messages)
    same(jax.device_get(again), state)
    assert contents(directory) == before


def with_nan_at(step, name, make_train_step):
    """A train step whose metric `name` is NaN at a step."""

    def make(*args, **kwargs):
        compiled = make_train_step(*args, **kwargs)

        def train_step(state, *rest):
            state, metrics = compiled(state, *rest)
            if int(state.step) == step:
                metrics[name] = metrics[name] * np.float32(np.nan)
            return state, metrics

        return train_step

    return make


def test_nan_in_a_loss_ends_the_run_and_keeps_the_last_checkpoint(finished, place, config, monkeypatch):
    directory, state = finished
    with monkeypatch.context() as patched:
        patched.setattr(loop, "make_train_step", with_nan_at(6, "level1/intra", loop.make_train_step))
        with pytest.raises(UserError, match=r"Not finite at step 6: level1/intra \(.*step 4 is kept"):
            loop.train(config, place / "nan")
    assert steps(place / "nan") == [4]
    assert len(lines(place / "nan")) == 5
    same(jax.device_get(loop.train(config, place / "nan")), state)
    assert lines(place / "nan") == lines(directory)


def test_parameters_that_diverge_at_a_checkpoint_are_not_saved(place, config, monkeypatch):
    """The metrics of a step are those before its update."""

    def make(*args, make_train_step=loop.make_train_step, **kwargs):
        compiled = make_train_step(*args, **kwargs)

        def train_step(state, *rest):
            state, metrics = compiled(state, *rest)
            huge = np.float32(1e30 if int(state.step) == STEPS else 1)
            return state._replace(params=jax.tree.map(lambda x: x * huge, state.params)), metrics

        return train_step

    monkeypatch.setattr(loop, "make_train_step", make)
    with pytest.raises(UserError, match=r"Not finite.* step 8.*step 4 is kept.*config\.train\.learning_rate"):
        loop.train(config, place / "diverged")
    assert steps(place / "diverged") == [4]


def test_no_epochs_save_the_untrained_model_of_the_seed(place):
    config = tiny_config(place / "data", place / "cache", train__epochs=0.0)
    state = jax.device_get(loop.train(config, place / "untrained"))
    assert steps(place / "untrained") == [0]
    assert lines(place / "untrained") == []
    saved = restored(place / "untrained", config, 0)
    same(saved["params"], state.params)
    dataset, model = load_dataset(config.data), build_model(config, 2)
    cache = cached_features(config, model.levels, dataset.train, config.cache.dir, lambda line: None)
    initial = loop.initial_model(config, model, training_set(config, dataset, cache))
    same(saved["params"], jax.device_get(initial[0]))
    for deviation in saved["calibration"].constants.log_likelihood.position_deviation:
        assert (deviation > 0).all()
    before = contents(place / "untrained" / "checkpoints")
    again = loop.train(config, place / "untrained")  # as after any other run
    same(jax.device_get(again.params), state.params)
    assert contents(place / "untrained" / "checkpoints") == before
    config.seed = 1
    other = loop.train(config, place / "other seed")
    assert not np.array_equal(other.params[0].flow.passive_kernel, state.params[0].flow.passive_kernel)


def test_a_bad_config_is_refused_before_the_folder_is_made(place, config, tmp_path):
    bad = config.copy_and_resolve_references()
    bad.train.batch_size = 9
    with pytest.raises(UserError, match=r"config\.train\.batch_size is 9, expected a multiple of the 2"):
        loop.train(bad, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_more_classes_than_channels_are_refused(config):
    with pytest.raises(UserError, match=r"41 classes, but the level of 8×8 .*stub has only 40 channels"):
        build_model(config, 41)


def test_a_sample_of_positions_is_refused_where_neighbours_are_needed(place, tmp_path):
    config = get_config("fastflow_folder")
    config.data.update(root=str(place / "data"), image_size=64)
    config.train.positions = 4
    with pytest.raises(UserError, match=r"train\.positions is 4, expected 0: the detector fastflow"):
        loop.train(config, tmp_path / "run")


def test_an_unreadable_training_image_is_named(tmp_path):
    folder = add_class(tmp_path / "data", "brick", test=0)
    damaged = folder / "train" / "good" / "03.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(UserError, match=r"brick/train/good/03\.png' cannot be read as an image"):
        loop.train(tiny_config(tmp_path / "data"), tmp_path / "run")
    assert not list(Path(tmp_path / "run").rglob("*.npy"))
