"""Every benchmark and every make target runs, small: a figure of the docs is worth what its command is."""

import json
import os
import re
import subprocess
import sys

import pytest
from trees import PYTHON, ROOT, add_class, tiny_config

from hgad_jax.training.loop import train

BENCHMARKS = ROOT / "benchmarks"

# Scripts that are commands, and the test file that runs each in a small form.
COVERED = {
    "benchmarks/ablation.py": "benchmarks/test_ablation.py",
    "benchmarks/accelerator.py": "benchmarks/test_accelerator.py",
    "benchmarks/backbone.py": "benchmarks/test_backbone_benchmark.py",
    "benchmarks/cflow.py": "benchmarks/test_cflow_benchmark.py",
    "benchmarks/classes.py": "benchmarks/test_classes_benchmark.py",
    "benchmarks/combination.py": "benchmarks/test_small_forms.py",
    "benchmarks/compare.py": "benchmarks/test_compare.py",
    "benchmarks/false_alarms.py": "benchmarks/test_small_forms.py",
    "benchmarks/flops.py": "benchmarks/test_flops.py",
    "benchmarks/flow.py": "benchmarks/test_flow_benchmark.py",
    "benchmarks/flow_products.py": "benchmarks/test_small_forms.py",
    "benchmarks/input.py": "benchmarks/test_input_benchmark.py",
    "benchmarks/metrics.py": "benchmarks/test_metrics_benchmark.py",
    "benchmarks/time_to_auroc.py": "benchmarks/test_time_to_auroc.py",
    "benchmarks/timeline.py": "benchmarks/test_small_forms.py",
    "tests/soak.py": "training/test_soak.py",
    "train.py": "test_scripts.py",
    "eval.py": "test_scripts.py",
    "predict.py": "inference/test_predict.py",
}
TARGETS = ("demo", "compare", "test", "test-all", "test-torch", "soak", "lint", "check", "clean")


def run(script, *arguments, python=PYTHON):
    alone = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    command = [*python, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("small_forms")
    add_class(place / "images", "brick", good=20)
    train(tiny_config(place / "images", train__epochs=1.0), place / "run")
    return place / "run"


def test_false_alarms_are_counted(finished):
    out = run("false_alarms.py", f"--workdir={finished}", "--splits=3", "--size=16", "--rates=0.2")
    found = json.loads(out.splitlines()[-1])["brick/0.2"]["left_out"]
    assert 0 < found["promised"] < 1
    assert 0 <= found["observed"] <= 1


def test_combinations_are_compared(finished):
    out = run("combination.py", f"--workdir={finished}")
    assert "| log_exponential |" in out


def test_the_flows_products_are_timed():
    out = run("flow_products.py", "--rounds=1", "--micro-batches=64", python=[sys.executable])
    assert "all products" in out


def test_the_timeline_of_a_run_is_drawn(tmp_path):
    add_class(tmp_path / "images", "brick", good=20)
    options = ["--experiment=hgad_folder", f"--root={tmp_path / 'images'}", f"--out={tmp_path / 'run'}"]
    seconds = json.loads(run("timeline.py", "--epochs=16", *options).splitlines()[-1])
    assert {"training: steps", "evaluation: metrics, intervals", "evaluation: images checked"} <= set(seconds)


def commands():
    """Every script that is a command: of the benchmarks, of the Makefile, and those that a page names."""
    found = {f"benchmarks/{path.name}" for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text()}
    pages = [ROOT / "Makefile", ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        found |= set(re.findall(r"python (?:-m )?((?:benchmarks/|tests/)?\w+\.py)\b", page.read_text()))
    return sorted(found)


@pytest.mark.parametrize("script", commands())
def test_every_command_is_there_and_has_a_test(script):
    assert (ROOT / script).exists()
    test = ROOT / "tests" / COVERED[script]
    name = script.rpartition("/")[2]
    assert re.search(rf"\b{name.removesuffix('.py')}\b", test.read_text()), f"{test} does not run {script}"


def test_every_make_target_is_known():
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    assert tuple(phony.split()) == TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_make_target_calls_is_there(target):
    said = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for script in re.findall(r"python ((?:\w+/)?\w+\.py)\b", said):
        assert script in COVERED
