"""Several processes on loopback, with gloo: one model, one writer, and nobody waits for the dead."""

import json
import signal
import time

import jax
import numpy as np
import pytest
from several import SETTINGS, finish, start
from trees import add_class, tiny_config

from hgad_jax.errors import UserError
from hgad_jax.runs import checkpoints, processes
from hgad_jax.runs.model import abstract_model, build_model
from hgad_jax.training import loop

LONG = {"train__epochs": 400.0, "train__stage_two_epoch": 2.0, "train__checkpoint_every": 1000}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("processes")
    for name in ("brick", "grass"):
        add_class(place / "images", name, test=0)
    return place


def config_of(place, **changes):
    return tiny_config(place / "images", "", backbone__taps=SETTINGS["backbone.taps"], **changes)


@pytest.fixture(scope="module")
def alone(place):
    """One process: losses and the last checkpoint."""
    loop.train(config_of(place), place / "alone")
    return results(place, place / "alone")


def losses(workdir):
    return [json.loads(line)["loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def results(place, workdir):
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        model = build_model(config_of(place), 2)
        return losses(workdir), jax.device_get(checkpoints.restore(manager, 8, abstract_model(model)))


def equal(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def check_equals_one(place, alone, count):
    workdir = place / f"several{count}"
    ends = finish(start(place / "images", workdir, count))
    assert [status for status, _ in ends] == [0] * count, ends
    said = [text for _, text in ends]
    assert f"{count} process(es), {count} device(s)" in said[0]
    assert "Features of 24 images computed by all processes" in said[0]
    assert f"batch 8, {8 // count} per device" in said[0]
    assert "8 steps done, model saved" in said[0]
    assert all("step" not in text for text in said[1:]), "one of them speaks"
    equal(results(place, workdir), alone)
    assert_same_features(workdir / "cache", place / "alone" / "cache")


def assert_same_features(found, expected):
    """That the processes have computed together."""
    (found,), (expected,) = found.glob("*/level0.npy"), expected.glob("*/level0.npy")
    np.testing.assert_array_equal(np.load(found), np.load(expected))


def test_two_processes_equal_one(place, alone):
    check_equals_one(place, alone, 2)


@pytest.mark.slow
def test_four_processes_equal_one(place, alone):
    check_equals_one(place, alone, 4)


def started(place, workdir, count, **changes):
    """Processes that train, a few steps past the start."""
    running = start(place / "images", workdir, count, **LONG, **changes)
    while not (workdir / "metrics.jsonl").exists() or len(losses_so_far(workdir)) < 20:
        assert all(process.poll() is None for process in running), finish(running)
        time.sleep(0.01)
    return running


def losses_so_far(workdir):
    return (workdir / "metrics.jsonl").read_text().splitlines()


@pytest.mark.slow
def test_sigterm_to_one_stops_all_after_the_same_step_and_one_process_goes_on(place):
    workdir = place / "terminated"
    running = started(place, workdir, 2)
    running[1].send_signal(signal.SIGTERM)
    ends = finish(running)
    assert [status for status, _ in ends] == [75, 75], ends
    step = int((next((workdir / "checkpoints").iterdir())).name)
    assert f"saved after step {step} of 800" in ends[0][1]
    with checkpoints.open_manager(workdir, read_only=True) as manager:
        assert checkpoints.latest_step(manager) == step
        restored = checkpoints.restore(manager, step, abstract_model(build_model(config_of(place), 2)))
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored)} == {1}

    class Enough(Exception):
        pass

    def log(line):
        if line == f"Going on from step {step}":
            raise Enough

    with pytest.raises(Enough):
        loop.train(config_of(place, **LONG), workdir, log=log)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 0])
def test_when_one_is_killed_the_other_ends_and_says_why(place, killed):
    running = started(place, place / f"killed{killed}", 2, heartbeat=10)
    running[killed].kill()
    status, said = finish(running)[1 - killed]
    assert status == 2, (status, said)
    assert "error: Process" in said
    assert "another one has" in said
    assert "Fatal" not in said


@pytest.mark.slow
def test_one_that_refuses_ends_all(place):
    """Before training: the other one waits for it to compute the features."""
    ends = finish(start(place / "images", place / "refused", 2, last=("--config.train.epochs=9.0",)))
    assert [status for status, _ in ends] == [2, 2], ends
    assert "config.train.epochs: 4.0 there, 9.0 here" in ends[1][1]
    assert "another one has" in ends[0][1]


@pytest.mark.slow
def test_groups_are_found_once_and_are_those_of_one_process(place):
    alone = config_of(place, data__classes="cluster:2", train__epochs=0.0)
    loop.train(alone, place / "groups")
    ends = finish(start(place / "images", place / "groups2", 2, data__classes="cluster:2", train__epochs=0.0))
    assert [status for status, _ in ends] == [0, 0], ends
    found, expected = (json.loads((place / f"groups{n}" / "clusters.json").read_text()) for n in ("", "2"))
    assert found == expected


@pytest.mark.slow
def test_the_stability_report_is_written_once(place):
    add_class(place / "tested", "brick", test=2)
    ends = finish(start(place / "tested", place / "stable", 2, eval__window=(1.0, 4.0)))
    assert [status for status, _ in ends] == [0, 0], ends
    report = json.loads((place / "stable" / "stability.json").read_text())
    assert report["steps"] == [1, 2, 3, 4], "8 images, 8 a step"
    assert "Test image_auroc over 4 evaluations" in ends[0][1]


WRONG = {
    "only some flags": ((None, 2, None), {}, r"--coordinator, --process_id is missing"),
    "no port": (("host", 2, 0), {}, "--coordinator=host, expected HOST:PORT"),
    "a number too high": (("host:1", 2, 2), {}, r"--process_id=2 with --num_processes=2, expected 0 to 1"),
    "not a number": ((None, None, None), {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two"),
}


@pytest.mark.parametrize("case", WRONG)
def test_arguments_that_do_not_belong_together_are_refused(case, monkeypatch):
    arguments, environment, message = WRONG[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        processes.initialize(*arguments)


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES"])
def test_a_script_of_one_process_refuses_to_be_several(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    processes.refuse_several("eval.py")
    monkeypatch.setenv(name, "4")
    with pytest.raises(UserError, match=rf"eval\.py is one process, .*started as one of 4 \({name}=4"):
        processes.refuse_several("eval.py")


@pytest.mark.parametrize(
    ("environment", "several"),
    [({}, False), ({"SLURM_STEP_NUM_TASKS": "1"}, False), ({"SLURM_STEP_NUM_TASKS": "4"}, True)],
)
def test_slurm_is_noticed_and_one_process_stays_alone(environment, several, monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.launched_as_several() == several


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory", "Process 1 of 2 has too little memory .*train.batch_size"),
        ("UNAVAILABLE: connection reset", "Process 1 of 2 ends, since another one has"),
    ],
)
def test_what_a_process_ends_by_is_not_always_another_ones_end(monkeypatch, message, expected):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with pytest.raises(UserError, match=expected), processes.others_may_die():
        raise jax.errors.JaxRuntimeError(message)
