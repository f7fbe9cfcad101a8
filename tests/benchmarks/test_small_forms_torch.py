"""Small forms of the benchmarks beside PyTorch; run where `make test-torch` has installed it."""

import importlib.util
import json
import math
import sys

import pytest
from test_small_forms import run
from trees import add_class

pytest.importorskip("torch", reason="needs the extra 'bench'")


def last_line(script, *arguments):
    """What a command's last line holds, whose numbers are finite and above 0."""
    found = json.loads(run(script, *arguments, python=[sys.executable]).splitlines()[-1])
    numbers = [value for value in found.values() if isinstance(value, float)]
    assert all(0 < value < math.inf for value in numbers)
    return found


def test_the_flow_is_timed():
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    found = last_line("flow.py", "--rounds=1")
    assert found.keys() >= {"forward_ratio", "train_ratio", "train_matmul_fraction"}


def test_a_step_of_cflow_is_timed():
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    found = last_line("cflow.py", "--rounds=1")
    assert found.keys() == {"train_ratio", "threads", "train_ms", "torch_train_ms"}


@pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="needs the extra 'parity'")
def test_a_backbone_is_timed():
    found = last_line("backbone.py", "--names", "resnet18", "--size=64", "--batch=1", "--rounds=1")
    assert found["resnet18"].keys() == {"eager_ratio", "channels_last_ratio"}
    assert all(0 < ratio < math.inf for ratio in found["resnet18"].values())


@pytest.mark.slow
def test_auroc_against_minutes_beside_pytorch(tmp_path):
    pytest.importorskip("FrEIA", reason="needs the extra 'bench'")
    add_class(tmp_path, "brick", good=24)
    options = [f"--magnetic-tile={tmp_path / 'brick'}", f"--out={tmp_path / 'out'}", "--seeds", "0"]
    options += ["--datasets", "magnetic_tile", "--set", "data.image_size=64", "detector.num_blocks=2"]
    budget = ["--threads=1", "--budget-minutes=0.0005", "--default-minutes=0.0005", "--speed-rounds=1"]
    found = last_line("time_to_auroc.py", *options, *budget)
    assert found.keys() >= {"floor", "minutes_to_pytorch", "throughput_ratio", "matmul_fraction"}
    assert all(0 <= found[side]["image_auroc"] <= 1 for side in ("default", "paper", "pytorch_paper"))
