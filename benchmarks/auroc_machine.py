"""Which machine `time_to_auroc.py` runs on: minutes of two machines do not make one curve."""

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from hgad_jax.errors import UserError
from hgad_jax.files import write_atomically
from hgad_jax.runs.workdir import differences

_PACKAGES = ("hgad_jax", "jax", "jaxlib", "numpy", "torch", "FrEIA")


def check_machine(path: Path, threads: int, settings: dict[str, Any]) -> None:
    """Writes down machine, versions and settings, or refuses others than those that are written there.

    Args:
      path: of the JSON file.
      threads: used by either side.
      settings: all else that results depend on, as JSON has it.

    Raises:
      UserError: the file names another machine, other versions or other settings.
    """
    now = json.loads(json.dumps(describe(threads) | {"settings": settings}))
    if not path.exists():
        write_atomically(path, json.dumps(now, indent=2) + "\n")
        return
    found = list(differences(json.loads(path.read_text()), now, "machine"))
    if found:
        lines = [
            f"  {key.removeprefix('machine.')}: {there} there, {here} here" for key, there, here in found
        ]
        raise UserError(
            f"{path.parent} holds results of another machine or other settings; nothing was changed.\n"
            + "\n".join(lines)
            + "\nGo on with it there and with those, or choose another --out."
        )


def describe(threads: int) -> dict[str, Any]:
    """Processor, cores and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
