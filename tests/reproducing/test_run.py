"""Runs of a plan: failures, kills, devices, with a program that takes no time in the place of `hgad-jax`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from trees import ROOT

from hgad_jax.errors import UserError
from hgad_jax.reproducing.all_tables import TABLES
from hgad_jax.reproducing.job import Job, Places, config_of
from hgad_jax.reproducing.plan import plan
from hgad_jax.reproducing.run import devices, last_error, results_of, results_path, run_all
from hgad_jax.runs import workdir

# Writes what `train` and `eval` write that the runner looks at, and the device that it was given.
FAKE = """
import json, os, pathlib, sys, time
name, *flags = sys.argv[1:]
folder = pathlib.Path(next(f for f in flags if f.startswith("--workdir=")).partition("=")[2])
here = pathlib.Path(__file__).parent
with open(here / "calls", "a") as file:
    file.write(f"{name} {folder.name} {os.environ.get('SLOT')} {time.monotonic()}\\n")
if any(word in folder.name for word in (here / "fails").read_text().split()) and name == "train":
    print("error: the loss is not finite", file=sys.stderr)
    sys.exit(2)
time.sleep(float((here / "sleep").read_text()))
folder.mkdir(parents=True, exist_ok=True)
if name == "train":
    config = json.loads((here / "configs" / folder.name).read_text())
    (folder / "config.json").write_text(json.dumps(config))
else:
    values = {"image_auroc": .9, "pixel_auroc": .8}
    (folder / "eval").mkdir(exist_ok=True)
    results = {"classes": {"x": values}, "mean": values, "step": 1}
    (folder / "eval" / "results.json").write_text(json.dumps(results))
with open(here / "calls", "a") as file:
    file.write(f"end {folder.name} {os.environ.get('SLOT')} {time.monotonic()}\\n")
"""


@pytest.fixture
def fake(tmp_path):
    """(plan, places, program, folder of the program)."""
    planned = plan(TABLES["hgad_table3"], columns=("cflow",), classes=("bottle", "cable", "screw"))
    places = Places(tmp_path / "out", "/images")
    folder = tmp_path / "fake"
    (folder / "configs").mkdir(parents=True)
    (folder / "program.py").write_text(FAKE)
    (folder / "fails").write_text("")
    (folder / "sleep").write_text("0")
    for job in planned.jobs:
        config = workdir.config_as_json(config_of(job, places))
        (folder / "configs" / job.name).write_text(json.dumps(config))
    return planned, places, [sys.executable, str(folder / "program.py")], folder


def calls(folder):
    return [line.split() for line in (folder / "calls").read_text().splitlines()]


def test_one_that_fails_leaves_the_others_going_and_is_done_alone_afterwards(fake):
    planned, places, program, folder = fake
    (folder / "fails").write_text("cable")
    lines = []
    done = run_all(planned.jobs, places, log=lines.append, program=program, slots=[{}])
    ((name, why),) = done.failed.items()
    assert "cable" in name
    assert "train: the loss is not finite (exit status 2; " in why
    assert [results_of(job, places) is not None for job in planned.jobs] == [True, False, True]
    assert any(line.startswith("[2 of 3, 1 failed]") and "FAILED" in line for line in lines)
    assert "h left" in lines[0]

    (folder / "fails").write_text("")
    (folder / "calls").unlink()
    done = run_all(planned.jobs, places, log=lines.append, program=program, slots=[{}])
    assert done.failed == {}
    assert {call[1] for call in calls(folder)} == {name}
    assert any("2 of 3 models are finished already" in line for line in lines)
    assert run_all(planned.jobs, places, log=lines.append, program=program, slots=[{}]).failed == {}


def test_each_device_has_one_model_at_a_time(fake):
    planned, places, program, folder = fake
    (folder / "sleep").write_text("0.2")
    slots = [{"SLOT": "a"}, {"SLOT": "b"}]
    run_all(planned.jobs, places, log=lambda line: None, program=program, slots=slots)
    found = calls(folder)
    assert {call[2] for call in found} == {"a", "b"}
    for slot in "ab":
        of_slot = [call for call in found if call[2] == slot]
        kinds = ["end" if call[0] == "end" else "begin" for call in of_slot]
        assert kinds == ["begin", "end"] * (len(of_slot) // 2)


def test_results_of_another_config_are_refused(fake):
    planned, places, program, _ = fake
    run_all(planned.jobs, places, log=lambda line: None, program=program, slots=[{}])
    path = places.workdir(planned.jobs[0]) / "config.json"
    path.write_text(path.read_text().replace('"epochs": 200.0', '"epochs": 100.0'))
    with pytest.raises(UserError, match="another config"):
        run_all(planned.jobs, places, log=lambda line: None, program=program, slots=[{}])


def test_results_without_what_the_table_shows_are_none(tmp_path):
    """As of a run that another table has evaluated, which shows less."""
    places = Places(tmp_path)
    job = Job("hgad_elpv", (), 0, ("--normality", "--report"))
    path = results_path(job, places)
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert results_of(job, places) is None
    path.with_name("report.html").write_text("")
    assert results_of(job, places) is None
    path.write_text('{"ks": {}}')
    assert results_of(job, places) == {"ks": {}}
    path.with_name("report.html").unlink()
    assert results_of(job, places) is None


def test_broken_results_are_told(fake):
    planned, places, program, _ = fake
    run_all(planned.jobs, places, log=lambda line: None, program=program, slots=[{}])
    (places.workdir(planned.jobs[0]) / "eval" / "results.json").write_text("{")
    with pytest.raises(UserError, match="Delete it"):
        run_all(planned.jobs, places, log=lambda line: None, program=program, slots=[{}])


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from hgad_jax.exit_status import status_of
from hgad_jax.reproducing.job import Places
from hgad_jax.reproducing.all_tables import TABLES
from hgad_jax.reproducing.plan import plan
from hgad_jax.reproducing.run import run_all
planned = plan(TABLES["hgad_table3"], columns=("cflow",), classes=("bottle", "cable", "screw"))
places = Places(Path({out!r}), "/images")
def go():
    run_all(planned.jobs, places, log=lambda line: print(line, flush=True), program={program!r}, slots=[{{}}])
sys.exit(status_of(go))
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_it_goes_on_from_what_is_finished(fake, how):
    planned, places, program, folder = fake
    (folder / "sleep").write_text("0.4")
    code = KILLED.format(root=str(ROOT), out=str(places.out), program=program)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # the first is done
    os.kill(process.pid, how)
    process.stdout.close()
    assert process.wait() == (75 if how == signal.SIGTERM else -9)
    time.sleep(1.0 if how == signal.SIGKILL else 0)  # what it had begun ends by itself
    finished = sum(results_of(job, places) is not None for job in planned.jobs)
    assert 1 <= finished < 3
    (folder / "sleep").write_text("0")
    (folder / "calls").unlink()
    assert run_all(planned.jobs, places, log=lambda line: None, program=program, slots=[{}]).failed == {}
    trained = [call[1] for call in calls(folder) if call[0] == "train"]
    assert len(trained) == len(set(trained)) == 3 - finished
    assert all(results_of(job, places) for job in planned.jobs)


def test_a_training_that_a_killed_parent_left_is_waited_for(fake):
    from hgad_jax.files import locked

    planned, places, program, folder = fake
    path = places.workdir(planned.jobs[0])
    path.mkdir(parents=True)
    ended = []

    def other():
        with locked(path / ".lock"):
            held.set()
            time.sleep(0.5)
            ended.append(time.monotonic())

    held = threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    run_all(planned.jobs[:1], places, log=lambda line: None, program=program, slots=[{}])
    thread.join()
    assert float(calls(folder)[0][3]) >= ended[0]


def test_a_machine_with_cpus_alone_is_one_device():
    assert devices() == [{}]


@pytest.mark.parametrize(
    ("platform", "number", "given", "expected"),
    [
        ("gpu", 2, "", [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]),
        ("gpu", 2, "3,5", [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]),
        ("gpu", 1, "", [{}]),
    ],
)
def test_several_gpus_are_several_devices(platform, number, given, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    answer = subprocess.CompletedProcess([], 0, f"{platform} {number}\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: answer)
    assert devices() == expected


def test_the_reason_of_a_failure_is_its_last_error():
    assert last_error("a\nerror: first\nerror: second\nmore\n") == "second"
    assert last_error("a\nValueError: b\n\n") == "ValueError: b"
    assert last_error("") == ""
