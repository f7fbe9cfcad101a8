"""Every benchmark and every make target runs, small: a figure of the docs is worth what its command is."""

import json
import math
import os
import re
import subprocess
import sys

import pytest
from trees import PYTHON, ROOT, TINY, add_class, tiny_config

from hgad_jax.exporting.export import export
from hgad_jax.exporting.onnx_export import export_onnx
from hgad_jax.training.loop import train

BENCHMARKS = ROOT / "benchmarks"

# Scripts that are commands, and the test file that runs each in a small form.
COVERED = {
    "benchmarks/ablation.py": "benchmarks/test_small_forms.py",
    "benchmarks/accelerator.py": "benchmarks/test_accelerator.py",
    "benchmarks/backbone.py": "benchmarks/test_small_forms_torch.py",
    "benchmarks/cflow.py": "benchmarks/test_small_forms_torch.py",
    "benchmarks/classes.py": "benchmarks/test_small_forms.py",
    "benchmarks/combination.py": "benchmarks/test_small_forms.py",
    "benchmarks/compare.py": "benchmarks/test_compare.py",
    "benchmarks/false_alarms.py": "benchmarks/test_small_forms.py",
    "benchmarks/flops.py": "benchmarks/test_small_forms.py",
    "benchmarks/flow.py": "benchmarks/test_small_forms_torch.py",
    "benchmarks/flow_products.py": "benchmarks/test_small_forms.py",
    "benchmarks/latency.py": "benchmarks/test_small_forms.py",
    "benchmarks/input.py": "benchmarks/test_input_benchmark.py",
    "benchmarks/metrics.py": "benchmarks/test_metrics_benchmark.py",
    "benchmarks/serve.py": "benchmarks/test_small_forms.py",
    "benchmarks/time_to_auroc.py": "benchmarks/test_small_forms.py",
    "benchmarks/timeline.py": "benchmarks/test_small_forms.py",
    "tests/soak.py": "training/test_soak.py",
    "train.py": "test_scripts.py",
    "eval.py": "test_scripts.py",
    "predict.py": "inference/test_predict.py",
}
TARGETS = ("demo", "compare", "test", "test-all", "test-torch", "soak", "lint", "check", "clean")


def alone():
    """The environment of a user, but with this checkout's package, whichever is installed."""
    others = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    return others | {"PYTHONPATH": str(ROOT)}


def run(script, *arguments, python=PYTHON):
    command = [*python, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, env=alone(), capture_output=True, text=True)
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
    found = json.loads(out.splitlines()[-1])
    assert set(found) == {f"brick/0.2/{kind}" for kind in ("conformal", "naive")}, "too few for a tail"
    for of_kind in found.values():
        assert 0 < of_kind["promised"] < 1
        assert 0 <= of_kind["observed"] <= 1


def test_combinations_are_compared(finished):
    out = run("combination.py", f"--workdir={finished}")
    assert "| log_exponential |" in out


def test_the_latency_of_a_run_and_its_export(finished, tmp_path):
    export(finished, tmp_path / "model", log=lambda line: None)
    export_onnx(finished, tmp_path / "onnx", log=lambda line: None)
    places = [f"--artefact={tmp_path / 'model'}", f"--onnx={tmp_path / 'onnx'}"]
    out = run("latency.py", f"--run={finished}", *places, "--rounds=3")
    found = json.loads(out.splitlines()[-1])
    for side in ("run", "artefact", "onnx"):
        stages = found[side]
        assert stages.keys() == {"decode", "transform", "model", "decision", "whole"}
        assert all(0 <= of["p50"] <= of["p95"] <= of["p99"] for of in stages.values())
        assert stages["model"]["p50"] < stages["whole"]["p50"]
        assert all(start["seconds"] > 0 < start["megabytes"] for start in found["start"][side].values())


def test_serving_is_timed(finished):
    images = sorted((finished.parent / "images").rglob("test/*/*.png"))
    program = f"--program={' '.join(PYTHON)} {ROOT / 'hgad_jax' / '__main__.py'}"
    small = ["--seconds=0.5", "--clients", "1", "3", f"--workdir={finished}"]
    found = json.loads(run("serve.py", program, *images, *small).splitlines()[-1])
    assert found.keys() == {"decide", "decode_decide", "clients_1", "clients_3"}
    for clients in ("clients_1", "clients_3"):
        assert found[clients]["errors"] == 0
        assert 0 < found[clients]["images_per_s"] < math.inf
        assert 0 < found[clients]["median_s"] <= found[clients]["p95_s"] < math.inf


def test_the_flows_products_are_timed():
    out = run("flow_products.py", "--rounds=1", "--micro-batches=64", python=[sys.executable])
    assert "all products" in out


@pytest.mark.slow  # a minute and a half
def test_the_timeline_of_a_run_is_drawn(tmp_path):
    add_class(tmp_path / "images", "brick", good=20)
    options = ["--experiment=hgad_folder", f"--root={tmp_path / 'images'}", f"--out={tmp_path / 'run'}"]
    seconds = json.loads(run("timeline.py", "--epochs=16", *options).splitlines()[-1])
    assert {"training: steps", "evaluation: metrics, intervals", "evaluation: images checked"} <= set(seconds)


# Of every preset; one level, as the preset `paper` has, since each takes seconds to compile.
SETTINGS = [f"{key}={TINY[key]}" for key in ("data.image_size", "backbone.name", "backbone.source")]
SETTINGS += ["backbone.taps=('blocks.4',)", "detector.num_blocks=2", "train.batch_size=8"]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Options of a benchmark over magnetic tile."""
    root = tmp_path_factory.mktemp("tiles")
    add_class(root, "brick", good=24)
    return [f"--magnetic-tile={root / 'brick'}", "--datasets", "magnetic_tile", "--set", *SETTINGS]


@pytest.mark.slow
def test_the_ablation_of_two_seeds(tiles, tmp_path):
    chosen = ["--groups", "features", "--only=^default$", "--seeds", "0", "1"]
    out = run("ablation.py", *tiles, f"--out={tmp_path}", *chosen)
    (row,) = re.findall(r"^\| default \| (.*) \|$", out, re.M)
    cells = [cell.split(" ± ") for cell in row.split(" | ")]
    assert [len(cell) for cell in cells] == [2] * 5 + [1], "four figures of AUROC, held-out, seconds"
    assert all(0 <= float(mean) <= 1 for mean, _ in cells[:4])
    assert all(math.isfinite(float(part)) for cell in cells for part in cell)
    assert len(list(tmp_path.glob("default/*.json"))) == 2


@pytest.mark.slow
def test_auroc_against_minutes(tiles, tmp_path):
    budget = ["--budget-minutes=0.0005", "--default-minutes=0.0005", "--threads=1", "--no-speed"]
    sides = ["--sides", "default", "paper", "--seeds", "0"]
    out = run("time_to_auroc.py", *tiles, f"--out={tmp_path}", *budget, *sides)
    found = json.loads(out.splitlines()[-1])
    assert found.keys() == {"default", "paper", "floor"}
    for side in found.values():
        assert 0 <= side["image_auroc"] <= 1
        assert 0 <= side["pixel_auroc"] <= 1


def test_a_setting_that_there_is_not_is_refused(tiles, tmp_path):
    with pytest.raises(AssertionError, match=r"config\.detector.*no_such"):
        run("ablation.py", *tiles, "detector.no_such=1", f"--out={tmp_path}")


@pytest.mark.slow
def test_many_products_are_timed():
    found = json.loads(run("classes.py", "--classes", "2", "--rounds=1").splitlines()[-1])["2"]
    assert found.keys() == {"training", "given", "found"}
    assert all(0 < ratio < math.inf for ratio in found.values())


@pytest.mark.slow
def test_flops_are_counted():
    out = run("flops.py", "--backbone=tf_efficientnet_lite0", "--size=64", "--batch=2", "--classes=2")
    assert all(float(number) > 0 for number in re.findall(r"([\d.]+) GFLOP", out))
    assert "exchanged per step" in out


@pytest.mark.slow
def test_the_demo(tmp_path):
    """On all images of ELPV, as `make demo` calls its commands, in an environment that is there."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {" ".join(PYTHON)} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "venv" / ".demo").touch()  # what it installs is installed
    keys = ("data.image_size", "backbone.name", "backbone.source", "backbone.taps")
    flags = {key: TINY[key] for key in keys} | {"train.epochs": 1.0, "detector.num_blocks": 2}
    said = " ".join(f'"--config.{key}={value}"' for key, value in flags.items())
    command = ["make", "demo", f"VENV={tmp_path / 'venv'}", f"DEMO={tmp_path / 'run'}", f"DEMO_FLAGS={said}"]
    done = subprocess.run(command, cwd=ROOT, env=alone(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "run" / "eval" / "results.json").read_text())
    assert len(results["classes"]) == 2, "kinds of cells"
    for name, metrics in results["classes"].items():
        assert 0.5 < metrics["image_auroc"] < 1
        assert re.search(rf"^{name} +{metrics['image_auroc']:.4f}", done.stdout, re.M)


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
