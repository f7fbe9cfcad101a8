"""Any two commands at once on one run and one folder of images: a lock or right results, never torn files."""

import csv
import itertools
import json
import os
import re
import shutil
import subprocess

import pytest
from trees import PYTHON, ROOT, TINY, add_class, tiny_config

from hgad_jax.training.loop import train

pytestmark = pytest.mark.slow
SETTINGS = TINY | {"train.epochs": 8.0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("two_at_once")
    add_class(place / "images", "brick")
    return place


@pytest.fixture
def place(made, tmp_path):
    """A run that has got half-way."""
    shutil.copytree(made / "images", tmp_path / "images")
    if not (made / "run").exists():
        train(tiny_config(made / "images", train__epochs=8.0), made / "run")
    shutil.copytree(made / "run", tmp_path / "run")
    newest = max(
        (tmp_path / "run" / "checkpoints").iterdir(), key=lambda p: int(p.name) if p.name.isdigit() else -1
    )
    shutil.rmtree(newest)
    return tmp_path


def command(name, place):
    images, run = place / "images", f"--workdir={place / 'run'}"
    flags = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    return {
        "train": ["train.py", "--config=hgad_folder", f"--config.data.root={images}", run, *flags],
        "eval": ["eval.py", run, "--bootstrap=0"],
        "predict": ["predict.py", run, f"--input={images / 'brick' / 'test'}", f"--out={place / 'out'}"],
        "check": [
            str(ROOT / "hgad_jax" / "__main__.py"),
            "check",
            str(images),
            f"--out={place / 'report.txt'}",
        ],
    }[name]


@pytest.mark.parametrize(
    "names", list(itertools.combinations_with_replacement(["train", "eval", "predict", "check"], 2))
)
def test_a_pair(names, place):
    alone = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    started = [
        subprocess.Popen(
            [*PYTHON, *command(name, place)], cwd=ROOT, env=alone, stderr=subprocess.PIPE, text=True
        )
        for name in names
    ]
    ends = [(process.communicate()[1], process.returncode) for process in started]
    for said, status in ends:
        assert status in (0, 2), said
        assert "Traceback" not in said
        if status == 2:
            assert re.search(r"another process|Another \w+\.py writes", said), said
    assert any(status == 0 for _, status in ends)
    if "eval" in names:
        assert json.loads((place / "run" / "eval" / "results.json").read_text())["mean"]
    if "predict" in names:
        with (place / "out" / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len({row["path"] for row in rows}) == 6
        assert all(None not in row.values() for row in rows)
    if "check" in names:
        assert (place / "report.txt").exists()
