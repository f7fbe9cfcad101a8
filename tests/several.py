"""Starts `train.py` as several processes on this machine that find each other over loopback."""

import os
import socket
import subprocess
from pathlib import Path

from trees import PYTHON, ROOT, TINY

SETTINGS = TINY | {"backbone.taps": ("blocks.4",)}


def environment() -> dict[str, str]:
    """For a process that a test starts: it counts its devices itself, and compiles as the tests do."""
    kept = {key: value for key, value in os.environ.items() if key not in ("XLA_FLAGS", "PYTHONPATH")}
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    return kept | ({"XLA_FLAGS": " ".join(flags)} if flags else {})


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(
    images: Path, workdir: Path, count: int, *, heartbeat: int = 60, last: tuple[str, ...] = (), **changes
) -> list[subprocess.Popen]:
    """One process for each of `count`, with one device each.

    `changes` as `train__epochs=1.0`; `last` are further flags of the last process.
    """
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    flags += [f"--config.data.root={images}", f"--workdir={workdir}", f"--heartbeat={heartbeat}"]
    command = [*PYTHON, str(ROOT / "train.py"), f"--config={ROOT}/configs/hgad_folder.py", *flags]
    if count > 1:
        command += [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
    own = environment() | {"JAX_PLATFORMS": "cpu"}
    return [
        subprocess.Popen(
            command + ([f"--process_id={i}"] if count > 1 else []) + list(last if i == count - 1 else ()),
            env=own,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]


def finish(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit status and standard error of each."""
    said = [process.communicate(timeout=600)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]
