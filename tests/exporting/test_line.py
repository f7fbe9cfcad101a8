"""What a line does: an environment with jax and little else, the wheel without its dependencies."""

import importlib.metadata
import re
import subprocess
import sys

import numpy as np
import pytest
from several import environment
from trees import ROOT, add_class, crop, save, tiny_config

import hgad_jax
from hgad_jax.exporting.export import export
from hgad_jax.training.loop import train

pytestmark = pytest.mark.slow
CODE = """
import sys, hgad_jax
found = hgad_jax.load(sys.argv[1])(sys.argv[2])
print(hgad_jax.__file__, found.score, found.anomalous, found.class_name, found.map.shape)
"""


def pip(python, *arguments):
    done = subprocess.run(
        [str(python), "-m", "pip", "-q", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_line_with_jax_and_little_else(tmp_path):
    """The packages are those that docs/export.md names, in the versions that are installed here."""
    add_class(tmp_path / "data", "brick")
    train(tiny_config(tmp_path / "data", train__epochs=1.0), tmp_path / "run")
    export(tmp_path / "run", tmp_path / "model.zip", zipped=True, log=lambda line: None)
    image = save(tmp_path / "new.png", crop("brick", np.random.default_rng(5)))
    page = (ROOT / "docs" / "export.md").read_text()
    (named,) = re.findall(r"pip install (jax pillow[\w ]*?) +#", page)
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in named.split()]
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip(python, "install", *versions)
    pip(sys.executable, "wheel", "--no-deps", "-w", str(tmp_path / "wheel"), str(ROOT))
    pip(python, "install", "--no-deps", *map(str, (tmp_path / "wheel").glob("*.whl")))
    done = subprocess.run(
        [str(python), "-c", CODE, str(tmp_path / "model.zip"), str(image)],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    package, score, anomalous, name, *_ = done.stdout.split()
    assert package.startswith(str(tmp_path / "venv"))
    expected = hgad_jax.Predictor.load(tmp_path / "run")(image)
    assert float(score) == pytest.approx(expected.score, rel=1e-5)
    assert (anomalous, name) == (str(expected.anomalous), expected.class_name)
