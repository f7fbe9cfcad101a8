"""What a program settles before jax touches a device: cores as devices, compiled programs kept."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path

import jax

from hgad_jax.files import cache_root

_COMPILED = "JAX_COMPILATION_CACHE_DIR"


def use_cores(batch_size: int | None = None) -> None:
    """Makes each core of the CPU a device.

    XLA computes some parts of a step on one core however many there are; a device a core, with its own
    images, keeps all of them busy (benchmarks/flow.py). If a GPU or TPU is there, that is used, and this
    changes nothing. Where the environment says how many devices a CPU is, that holds, and several processes
    of one machine share its cores without it. Where jax has found its devices already, in a notebook for
    example, these stay.

    Args:
      batch_size: which the number of devices has to divide; None: any number does.
    """
    given = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if given or "JAX_NUM_CPU_DEVICES" in os.environ or jax.distributed.is_initialized():
        return
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = usable if batch_size is None else max(n for n in range(1, usable + 1) if batch_size % n == 0)
    with contextlib.suppress(RuntimeError):  # jax has its devices already
        jax.config.update("jax_num_cpu_devices", devices)


def keep_compiled() -> None:
    """Keeps what jax compiles in the user's cache folder, so that the same program starts at once next time.

    `JAX_COMPILATION_CACHE_DIR` chooses another folder; empty, nothing is kept.
    """
    if _COMPILED not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "compiled" / _machine()))


def _machine() -> str:
    """Tells machines apart whose processors lack each other's instructions: a home may be on several."""
    description = [platform.machine(), platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        description += sorted(
            {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        )
    return hashlib.sha256("\n".join(description).encode()).hexdigest()[:16]
