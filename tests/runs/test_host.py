"""What a program settles first: each core of a CPU is a device, compiled programs are kept."""

import os
import signal
import subprocess
import sys

import pytest

CODE = """
import sys
import jax
from hgad_jax.runs import host
host.use_cores(*map(int, sys.argv[1:]))
print(len(jax.devices()))
"""
FORCED = "--xla_force_host_platform_device_count=3"


def devices(*batch_size, **environment):
    """How many there are in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    command = [sys.executable, "-c", CODE, *map(str, batch_size)]
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
def test_as_many_devices_as_cores_that_divide_the_batch():
    cores = len(os.sched_getaffinity(0))
    assert devices() == cores
    assert devices(8 * cores) == cores
    assert devices(1) == 1


def test_what_the_environment_says_holds():
    assert devices(64, XLA_FLAGS=FORCED) == 3
    assert devices(64, JAX_NUM_CPU_DEVICES="5") == 5


KEEP = """
import os
import jax
import jax.numpy as jnp
from hgad_jax.runs import host
host.keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
"""


def run(cache, code=KEEP, status=0, **environment):
    """What is kept after a process of its own has compiled."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    variables |= {"JAX_PLATFORMS": "cpu", "HGAD_JAX_CACHE": str(cache)} | environment
    assert subprocess.run([sys.executable, "-c", code], env=variables).returncode == status
    return sorted(path for path in cache.rglob("*-cache"))


def test_what_is_compiled_is_kept_in_the_users_cache_folder(tmp_path):
    kept = run(tmp_path / "cache")
    assert kept
    assert all(path.parent.parent == tmp_path / "cache" / "compiled" for path in kept)
    times = [path.stat().st_mtime_ns for path in kept]
    again = run(tmp_path / "cache")  # nothing is written: all of it is found
    assert again == kept
    assert [path.stat().st_mtime_ns for path in again] == times


def test_another_folder_or_none_can_be_chosen(tmp_path):
    assert not run(tmp_path / "cache", JAX_COMPILATION_CACHE_DIR="")
    other = tmp_path / "other"
    assert not run(tmp_path / "cache", JAX_COMPILATION_CACHE_DIR=str(other))
    assert list(other.glob("*-cache"))


KILLED = f"""
import os, signal
from pathlib import Path
write = Path.write_bytes

def half(path, content):
    write(path, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

Path.write_bytes = half
{KEEP}
"""


def test_a_kill_in_the_middle_leaves_no_half_of_a_program(tmp_path):
    """Of which jax would warn at every start from then on."""
    assert not run(tmp_path / "cache", code=KILLED, status=-signal.SIGKILL)
    assert list((tmp_path / "cache").rglob("*.part")), "it was killed where it was meant to be"
    assert run(tmp_path / "cache")
    assert run(tmp_path / "cache", PYTHONWARNINGS="error"), "what is there can be read"
