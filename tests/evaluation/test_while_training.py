"""Evaluation and prediction in the folder of a run that goes on."""

import gc
import subprocess
import time

import pytest
from trees import PYTHON, ROOT, TINY, add_class

from hgad_jax.evaluation.scorer import load_scorer

SETTINGS = TINY | {"train.epochs": 120.0, "train.checkpoint_every": 3, "train.keep_checkpoints": 1}


@pytest.mark.slow
# orbax leaves its event loop open where a checkpoint is removed beneath it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_whole_checkpoint_is_read_while_training_removes_the_others(tmp_path):
    add_class(tmp_path / "data", "brick")
    arguments = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    command = [*PYTHON, "train.py", "--config=hgad_folder", f"--workdir={tmp_path / 'run'}"]
    command += [f"--config.data.root={tmp_path / 'data'}", *arguments]
    checkpoints = tmp_path / "run" / "checkpoints"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as training:
        while training.poll() is None and not any(path.name.isdigit() for path in checkpoints.glob("*")):
            time.sleep(0.1)
        steps = []
        while training.poll() is None:
            steps.append(load_scorer(tmp_path / "run").step)
        assert training.wait() == 0, training.stderr.read()
    assert len(set(steps)) > 1, "training went on beneath"
    assert steps == sorted(steps)
    gc.collect()  # what orbax left is looked at here, and not in the next test
