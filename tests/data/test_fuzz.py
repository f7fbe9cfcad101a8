"""Damaged and odd files are read or refused by name: nothing else is raised, and memory is bounded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(tmp_path, count):
    command = [sys.executable, str(FUZZ), str(count), "0", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    said = subprocess.check_output(command, stderr=subprocess.DEVNULL, env=environment)  # libtiff's is lost
    found = json.loads(said)
    assert found["others"] == []
    assert sum(found["counts"].values()) == count
    assert min(found["counts"].values()) > count / 20, "both happen"
    assert found["most"] < 1000, "MB"
