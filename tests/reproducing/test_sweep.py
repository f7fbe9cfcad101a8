"""`hgad-jax sweep` as a program, on real textures: a grid, a combination that fails, the table."""

import csv
import json
import subprocess

import pytest
import stub_backbone
from trees import PYTHON, ROOT, add_class, tiny_config

from hgad_jax.cli import sweep as command
from hgad_jax.files import locked
from hgad_jax.reproducing import run
from hgad_jax.reproducing.job import PROGRAM

OWN = """
import sys
sys.path.insert(0, {tests!r})
from trees import tiny_config
def get_config(words=""):
    config = tiny_config({root!r}, train__epochs=1.0, bank__size=0)
    config.data.class_name = words
    return config
"""


@pytest.mark.slow
def test_a_grid_in_processes_of_its_own(tmp_path, monkeypatch, capsys):
    root = tmp_path / "images"
    for name in ("brick", "grass"):
        add_class(root, name)
    config = tmp_path / "own.py"
    config.write_text(OWN.format(tests=str(ROOT / "tests"), root=str(root)))
    program = (*PYTHON, str(ROOT / "hgad_jax" / "__main__.py"))
    monkeypatch.setattr(run.run_all, "__kwdefaults__", run.run_all.__kwdefaults__ | {"program": program})
    from hgad_jax.reproducing import reproduce

    monkeypatch.setattr(
        reproduce.reproduce, "__kwdefaults__", reproduce.reproduce.__kwdefaults__ | {"program": program}
    )
    out = tmp_path / "swept"
    grid = "--grid=train.learning_rate=1e-3,1e9"  # with the second, the loss is soon not finite
    arguments = [f"--config={config}", grid, "--seeds=0", f"--out={out}"]
    assert command.status(arguments) == 1
    said = capsys.readouterr()
    assert "failed: own.py-" in said.err
    assert "Not finite" in said.err
    assert said.out == (out / "sweep.md").read_text()
    assert "learning_rate=1e-3 last" in said.out
    assert "## Failed" in said.out
    content = json.loads((out / "sweep.json").read_text())
    assert {cell["column"] for cell in content["cells"]} == {"learning_rate=1e-3"}
    (path,) = out.glob("runs/*/eval/results.json")
    expected = json.loads(path.read_text())["mean"]["image_auroc"]
    cells = [c for c in content["cells"] if c["metric"] == "image_auroc" and c["row"] == "mean"]
    assert [cell["mean"] for cell in cells] == [expected]
    with open(out / "sweep.csv") as file:
        assert {row["column"] for row in csv.DictReader(file)} == {"learning_rate=1e-3"}
    assert len(list((out / "cache").glob("*"))) > 0


def test_a_file_of_ones_own_with_classes_is_told_them_by_a_key(tmp_path, capsys):
    config = tmp_path / "own.py"
    config.write_text(OWN.format(tests=str(ROOT / "tests"), root=str(tmp_path)))
    assert command.status([f"--config={config}", "--classes=brick,grass", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("--config.data.class_name=brick") == 1
    assert out.count("--config.data.class_name=grass") == 1


def test_a_class_that_the_folder_lacks_is_told_before_the_first_training(tmp_path, capsys):
    add_class(tmp_path / "images", "brick", good=6, test=1)
    config = tmp_path / "own.py"
    config.write_text(OWN.format(tests=str(ROOT / "tests"), root=str(tmp_path / "images")))
    out = tmp_path / "swept"
    assert command.status([f"--config={config}", "--classes=brick,steel", f"--out={out}"]) == 2
    assert "has no class steel" in capsys.readouterr().err
    assert not (out / "runs").exists()


def test_another_command_in_the_folder_is_told(tmp_path, capsys):
    add_class(tmp_path / "images", "brick", good=6, test=1)
    config = tmp_path / "own.py"
    config.write_text(OWN.format(tests=str(ROOT / "tests"), root=str(tmp_path / "images")))
    with locked(tmp_path / ".lock"):
        assert command.status([f"--config={config}", f"--out={tmp_path}"]) == 2
    assert "another command runs there" in capsys.readouterr().err


def test_the_program_is_the_one_of_this_installation():
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("hgad_jax ")
    assert tiny_config(ROOT).backbone.name == stub_backbone.NAME
