"""The exit status of every command, whatever happens in it."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from trees import ROOT, save

from hgad_jax import exit_status
from hgad_jax.backbones import fetch as weights
from hgad_jax.backbones import table
from hgad_jax.cli import check as check_folder
from hgad_jax.cli import config, fetch, listing, main, prepare
from hgad_jax.data import own
from hgad_jax.errors import Interrupted, UserError
from hgad_jax.exit_status import status_of

HAPPENS = {
    "a mistake": (UserError("Mend this."), 2, "error: Mend this."),
    "a full disk": (OSError(errno.ENOSPC, "No space left", "/o"), 2, "'/o' cannot be .*disk is full"),
    "a full disk, to numpy": (OSError("48 requested and 4 written"), 2, "cannot be .*disk is full"),
    "a quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "Disk quota.*Make room"),
    "a disk that is read only": (
        OSError(errno.EROFS, "Read-only file system", "/o"),
        2,
        "'/o' cannot be .*read-only",
    ),
    "no permission": (PermissionError(errno.EACCES, "Permission denied", b"\xff"), 2, "Permission denied"),
    "a broken disk": (OSError(errno.EIO, "Input/output error", "x"), 2, "'x' cannot be .*disk fails"),
    "too many files": (OSError(errno.EMFILE, "Too many open files", "x"), 2, "ulimit -n"),
    "too little memory": (
        MemoryError("Unable to allocate 9. GiB"),
        2,
        "too little memory .Unable to all",
    ),
    "too little of a device's": (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2, "too little memory"),
    "a closed pipe": (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "Nobody reads the output any more"),
    "Ctrl-C": (KeyboardInterrupt(), 2, "error: Interrupted. The same command goes on"),
    "SIGTERM": (Interrupted("saved."), 75, "stopped: saved."),
    "a fault": (
        KeyError("lost"),
        3,
        r"(?s)Traceback.*KeyError: 'lost'\nerror: This is a fault of .*numpy",
    ),
    "a lost file": (FileNotFoundError(errno.ENOENT, "No such file"), 3, "(?s)Traceback.*This is a fault of"),
}


def command(happens):
    def run(*arguments, **settings):
        raise HAPPENS[happens][0]

    return run


def check(happens, status, said):
    _, expected, pattern = HAPPENS[happens]
    assert status == expected, said
    assert re.search(pattern, said), said
    assert ("Traceback" in said) == (expected == 3)


@pytest.mark.parametrize("happens", HAPPENS)
def test_what_happens_has_a_status_and_a_sentence(happens, capsys):
    check(happens, status_of(command(happens)), capsys.readouterr().err)


MODULES = {
    "check": (check_folder, ["nowhere"], own, "scan"),
    "prepare": (prepare, ["btad"], prepare, "load"),
    "fetch": (fetch, ["resnet18.tv_in1k"], weights, "fetch"),
    "list": (listing, ["backbones"], table, "markdown_table"),
    "config": (config, [], config, "page"),
}


@pytest.mark.parametrize("happens", HAPPENS)
@pytest.mark.parametrize("name", MODULES)
def test_every_module_that_is_a_command(name, happens, monkeypatch, capsys):
    command_module, arguments, module, function = MODULES[name]
    monkeypatch.setattr(module, function, command(happens))
    check(happens, command_module.status(arguments), capsys.readouterr().err)


# In one process for all: each start of Python with jax takes seconds.
SCRIPT = """
import contextlib, importlib, io, json, sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
import test_exit_status as tests

name, module, function = sys.argv[1:4]
sys.argv = [name, *sys.argv[4:]]
script = importlib.import_module("hgad_jax.cli." + name)
found = {{}}
for happens in tests.HAPPENS:
    setattr(importlib.import_module(module), function, tests.command(happens))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            script.main()
        except SystemExit as end:
            found[happens] = (end.code, said.getvalue())
print(json.dumps(found))
"""
SCRIPTS = {
    "train": ("hgad_jax.training.loop", "train", "--config=configs/hgad_folder.py", "--workdir=run"),
    "evaluate": ("hgad_jax.evaluation.evaluate", "evaluate", "--workdir=run"),
    "predict": ("hgad_jax.inference.predict", "predict", "--workdir=run", "--out=out", "--input=in"),
}


def python(*arguments, **settings):
    # Unbuffered, what is printed could not be left for the end, where an error is easily lost.
    unwanted = ("XLA_FLAGS", "PYTHONPATH", "PYTHONUNBUFFERED")
    environment = {k: v for k, v in os.environ.items() if k not in unwanted}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        **{"capture_output": True, "text": True, "cwd": ROOT, "env": environment} | settings,
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script(name):
    done = python("-c", SCRIPT.format(root=str(ROOT)), name, *SCRIPTS[name])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == HAPPENS.keys()
    for happens, (status, said) in found.items():
        check(happens, status, said)


@pytest.mark.parametrize("happens", ["a fault", "a full disk"])
def test_a_command_that_cannot_even_be_imported(happens, monkeypatch, capsys):
    monkeypatch.setattr(main.importlib, "import_module", command(happens))
    with pytest.raises(SystemExit) as end:
        main.main(["train"])
    check(happens, end.value.code, capsys.readouterr().err)


COMMANDS = {
    "hgad-jax": ["-m", "hgad_jax"],
    "train.py": ["train.py"],
    "eval.py": ["eval.py"],
    "predict.py": ["predict.py"],
    "data": ["-m", "hgad_jax.data"],
    "backbones": ["-m", "hgad_jax.backbones"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_no_failure_and_what_is_mistyped_is(name):
    asked = python(*COMMANDS[name], "--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert any(word in asked.stdout for word in ("usage", "--workdir", "COMMAND"))
    wrong = python(*COMMANDS[name], "--halp=1")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


@pytest.fixture
def check_of_a_folder(tmp_path):
    """A command that prints some lines and is done."""
    for value in range(4):
        pixels = (np.arange(64, dtype=np.uint8) + value).reshape(8, 8)
        save(tmp_path / "part" / "train" / "good" / f"{value}.png", pixels)
    return ["-m", "hgad_jax.data", "check", tmp_path]


@pytest.mark.parametrize("command", ["script", "module"])
def test_an_output_that_nobody_reads(command, check_of_a_folder):
    read, write = os.pipe()
    os.close(read)
    arguments = ["eval.py", "--help"] if command == "script" else check_of_a_folder
    done = python(*arguments, capture_output=False, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 2
    assert "Nobody reads the output any more" in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no disk that is always full")
def test_an_output_that_is_full(check_of_a_folder):
    with open("/dev/full", "w") as full:
        done = python(*check_of_a_folder, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr


def test_no_output_at_all(check_of_a_folder):
    closed = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", sys.executable, *map(str, check_of_a_folder)]
    assert subprocess.run(closed, cwd=ROOT).returncode == 0


def test_sigterm_while_a_command_runs(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert status_of(lambda: os.kill(os.getpid(), signal.SIGTERM)) == exit_status.STOPPED
    assert "goes on from what is finished" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread(capsys):
    found = []
    thread = threading.Thread(target=lambda: found.append(status_of(lambda: 1)))
    thread.start()
    thread.join()
    assert found == [1]


def test_a_device_that_is_not_there():
    code = "from hgad_jax.exit_status import status_of\nimport jax, sys\nsys.exit(status_of(jax.devices))"
    done = python("-c", code, env=os.environ | {"JAX_PLATFORMS": "nope"})
    assert done.returncode == 2
    assert "Is JAX_PLATFORMS=nope in the environment what is meant?" in done.stderr


def test_check_finds_images_that_cannot_be_used(tmp_path, capsys):
    save(tmp_path / "part" / "train" / "good" / "a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "part" / "train" / "good" / "b.png").write_text("")
    assert check_folder.status([str(tmp_path)]) == exit_status.SOME_UNUSABLE
    assert "b.png" in capsys.readouterr().out
    assert check_folder.status([str(tmp_path / "nowhere")]) == exit_status.USERS
