"""The kill test, shortened (minutes), as `make soak` runs it: a process of its own, with its own devices."""

import os
import re
import subprocess
import sys

import pytest
from trees import ROOT


@pytest.mark.slow  # two minutes
def test_a_run_killed_and_damaged_at_random_ends_bit_for_bit_like_one_left_alone():
    command = [
        sys.executable,
        ROOT / "tests" / "soak.py",
        "--kills=2",
        "--terms=1",
        "--damages=1",
        "--seed=2",
    ]
    alone = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    done = subprocess.run([*command, "--steps=16"], env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {what: int(n) for n, what in re.findall(r"^ *(\d+) ((?:SIG|newest).*)$", done.stdout, re.M)}
    assert sum(n for what, n in counts.items() if what.startswith("SIGKILL")) >= 2, counts
    assert counts.get("SIGKILL in a checkpoint write", 0) >= 1, counts
    assert sum(n for what, n in counts.items() if what.startswith("newest checkpoint")) == 1, counts
    (rounds,) = re.findall(r"restarts, (\d+) runs finished, all equal bit for bit", done.stdout)
    assert int(rounds) >= 2, "one after the kills, one after the damage"
