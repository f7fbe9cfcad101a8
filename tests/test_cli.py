"""`hgad-jax` and `import hgad_jax`: one way in, from a shell and from Python."""

import os
import subprocess
import sys

import pytest
from trees import ROOT

import hgad_jax
from hgad_jax.cli.main import COMMANDS, main


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    return end.value.code, out, err


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("help",)])
def test_help_names_every_command_on_one_screen(arguments, capsys):
    status, out, _ = said(capsys, *arguments)
    assert status == 0
    assert all(f"  {name}" in out for name in COMMANDS)
    assert out.count("\n") <= 24
    assert max(map(len, out.splitlines())) <= 100


def test_without_a_command_it_says_which_there_are(capsys):
    assert said(capsys)[0] == 2


def test_a_mistyped_command_is_told_the_nearest(capsys):
    status, out, err = said(capsys, "trian")
    assert (status, out) == (2, "")
    assert err.startswith("error: There is no command 'trian'. Did you mean train?")


def test_version(capsys):
    assert said(capsys, "--version") == (0, f"hgad_jax {hgad_jax.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_fits_a_screen(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hgad_jax", name, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert 3 <= done.stdout.count("\n") <= 45
    assert f"hgad-jax {name}" in done.stdout
    assert "absl" not in done.stdout


@pytest.mark.parametrize(
    "kind", ["experiments", "detectors", "flows", "bases", "datasets", "combinations", "metrics"]
)
def test_what_is_listed_is_what_there_is(kind, capsys):
    status, out, _ = said(capsys, "list", kind)
    assert status == 0
    assert out.splitlines()
    expected = {"experiments": "hgad_folder", "flows": "dense", "bases": "hierarchical", "datasets": "visa"}
    assert expected.get(kind, "") in out


def test_importing_the_package_imports_nothing_else():
    code = (
        "import sys, hgad_jax; heavy = {'jax', 'numpy', 'flax', 'absl'} & set(sys.modules); "
        "assert not heavy, heavy; assert set(hgad_jax.__all__) <= set(dir(hgad_jax))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})


@pytest.mark.parametrize("name", hgad_jax.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(hgad_jax, name).__doc__


def test_another_name_is_refused_as_python_does():
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        hgad_jax.nope  # noqa: B018


TRAINS_ON = """
import sys
import jax
from hgad_jax.training import loop
loop.train = lambda *args, **settings: print("devices", jax.device_count())
sys.argv = ["hgad-jax train", "--config=hgad_folder", "--workdir=run", "--config.data.root=."]
from hgad_jax.cli import train
train.main()
"""


def test_each_core_is_a_device_of_training(tmp_path):
    """Nothing before `host.use_cores` asks jax for its devices, which settles them."""
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    cores = len(os.sched_getaffinity(0))
    found = subprocess.run(
        [sys.executable, "-c", TRAINS_ON],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    devices = max(n for n in range(1, cores + 1) if 64 % n == 0)
    assert f"devices {devices}\n" in found.stdout, found.stderr
