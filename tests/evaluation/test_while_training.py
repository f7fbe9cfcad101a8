"""Evaluation and prediction in the folder of a run that goes on."""

import subprocess
import time

import pytest
from trees import PYTHON, ROOT, TINY, add_class

SETTINGS = TINY | {"train.epochs": 120.0, "train.checkpoint_every": 3, "train.keep_checkpoints": 1}

# In a process of its own: where a checkpoint is removed beneath it, orbax leaves its event loop open.
READ = """
import sys, threading
from hgad_jax.inference.scorer import load_scorer

ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    print(load_scorer(sys.argv[1]).step, flush=True)
"""


@pytest.mark.slow
def test_a_whole_checkpoint_is_read_while_training_removes_the_others(tmp_path):
    add_class(tmp_path / "data", "brick")
    (tmp_path / "read.py").write_text(READ)
    arguments = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    command = [*PYTHON, "train.py", "--config=hgad_folder", f"--workdir={tmp_path / 'run'}"]
    command += [f"--config.data.root={tmp_path / 'data'}", *arguments]
    checkpoints = tmp_path / "run" / "checkpoints"
    pipes = {"cwd": ROOT, "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as training:
        while training.poll() is None and not any(path.name.isdigit() for path in checkpoints.glob("*")):
            time.sleep(0.1)
        reader = [*PYTHON, str(tmp_path / "read.py"), str(tmp_path / "run")]
        with subprocess.Popen(reader, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **pipes) as reading:
            said = training.communicate()[1]
            read, failed = reading.communicate("")
    assert training.returncode == 0, said
    assert reading.returncode == 0, failed
    steps = list(map(int, read.split()))
    assert len(set(steps)) > 1, "training went on beneath"
    assert steps == sorted(steps)
