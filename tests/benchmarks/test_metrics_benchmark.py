"""The benchmark of the metrics compares like with like and ends with its line."""

import json
import subprocess
import sys

import pytest
from trees import ROOT


def test_both_find_the_same_and_the_last_line_is_json():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "metrics.py"), "--images=4"],
        check=True,
        capture_output=True,
        text=True,
    )
    *lines, last = done.stdout.splitlines()
    ours, theirs = (dict(zip(*[iter(line.split()[1:])] * 2, strict=True)) for line in lines)
    for name in ("auroc", "ap"):
        assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-5)
    assert set(json.loads(last)) == {"time_ratio", "memory_ratio"}
