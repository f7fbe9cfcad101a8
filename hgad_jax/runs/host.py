"""What a program settles before jax touches a device: cores as devices, compiled programs kept."""

import contextlib
import hashlib
import importlib.util
import os
import platform
from pathlib import Path

import jax

from hgad_jax.files import cache_root, expanded

_COMPILED = "JAX_COMPILATION_CACHE_DIR"
# Seconds. jaxlib 0.10.2 to 0.12 know these flags; one that it does not know would end the process.
_PATIENCE = {
    "--xla_cpu_collective_call_warn_stuck_timeout_seconds": 600,
    "--xla_cpu_collective_call_terminate_timeout_seconds": 600,
}
_ACCELERATORS = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin")


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
    _be_patient()
    given = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if given or "JAX_NUM_CPU_DEVICES" in os.environ or jax.distributed.is_initialized():
        return
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    devices = usable if batch_size is None else max(n for n in range(1, usable + 1) if batch_size % n == 0)
    with contextlib.suppress(RuntimeError):  # jax has its devices already
        jax.config.update("jax_num_cpu_devices", devices)


def _be_patient() -> None:
    """Lets the cores of a busy machine wait for each other.

    By itself XLA says after 20 seconds that a thread "may be stuck", and ends the process after 40 more.
    """
    accelerated = any(map(importlib.util.find_spec, _ACCELERATORS))  # whose XLA may know other flags
    if (not accelerated or os.environ.get("JAX_PLATFORMS") == "cpu") and jax.__version_info__ < (0, 13):
        given = os.environ.get("XLA_FLAGS", "")
        ours = [f"{flag}={seconds}" for flag, seconds in _PATIENCE.items() if flag not in given]
        os.environ["XLA_FLAGS"] = " ".join([given, *ours]).strip()


def keep_compiled() -> None:
    """Keeps what jax compiles in the user's cache folder, so that the same program starts at once next time.

    `JAX_COMPILATION_CACHE_DIR` chooses another folder; empty, nothing is kept.
    """
    _keep_whole()
    folder = os.environ.get(_COMPILED)
    if folder and folder.startswith("~"):  # jax would make a folder of that name
        jax.config.update("jax_compilation_cache_dir", str(expanded(folder)))
    if folder is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "compiled" / machine()))


def _keep_whole() -> None:
    """Makes jax keep a program whole or not at all.

    jax writes in place: a kill in the middle leaves half a program, which is never written again and brings a
    warning at every later start; and another process may read the half. There is no public way to it, so a
    jax that is built otherwise goes on as it does by itself.
    """
    try:
        from jax._src.lru_cache import _CACHE_SUFFIX, LRUCache
    except ImportError:
        return
    by_jax = LRUCache.put
    if by_jax.__module__ == __name__:  # done already
        return

    def put(self: LRUCache, key: str, value: bytes) -> None:
        if self.eviction_enabled or "://" in str(self.path):
            by_jax(self, key, value)
            return
        whole = Path(self.path) / f"{key}{_CACHE_SUFFIX}"
        if not whole.exists():
            part = whole.with_name(f".{key}.{os.getpid()}.part")
            part.write_bytes(value)
            part.replace(whole)

    LRUCache.put = put


def machine() -> str:
    """Tells machines apart whose processors lack each other's instructions: a home may be on several."""
    description = [platform.machine(), platform.processor()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        description += sorted(
            {line for line in lines if line.startswith(("model name", "flags", "Features"))}
        )
    return hashlib.sha256("\n".join(description).encode()).hexdigest()[:16]
