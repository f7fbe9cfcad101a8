"""Prediction takes no more memory for ten times the images."""

import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from trees import PYTHON, ROOT, add_class, crop, save, tiny_config

from hgad_jax.training.loop import train

MB = 1024  # of the kilobytes that the system counts in


def peak(place, images, out):
    """Resident memory at most, in MB, of predict.py over the images of a folder."""
    command = [*PYTHON, str(ROOT / "predict.py"), f"--workdir={place / 'run'}", f"--input={images}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    process = subprocess.Popen(
        [*command, f"--out={out}", "--heatmaps", "--maps=png16", "--contours"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    highest, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:  # its own: what `wait4` tells includes the process that started it
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        highest = int(found[1]) if found else highest
        time.sleep(0.05)
    assert process.returncode == 0
    return highest / MB


@pytest.mark.slow
def test_5000_images_take_no_more_memory_than_500(tmp_path):
    add_class(tmp_path / "data", "brick", test=0)
    train(tiny_config(tmp_path / "data", train__epochs=1.0, backbone__taps=("blocks.4",)), tmp_path / "run")
    sources = [save(tmp_path / f"{i}.png", crop("brick", np.random.default_rng(i))) for i in range(10)]
    peaks = {}
    for count in (500, 5000):
        folder = tmp_path / f"copies{count}"
        folder.mkdir()
        for i in range(count):
            os.link(sources[i % 10], folder / f"{i:04}.png")
        peaks[count] = peak(tmp_path, folder, tmp_path / f"out{count}")
        rows = (tmp_path / f"out{count}" / "scores.csv").read_text().splitlines()
        assert len(rows) == count + 1
        print(f"{count} images: {peaks[count]:.0f} MB")
    assert peaks[5000] - peaks[500] < 50
