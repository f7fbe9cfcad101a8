"""The most memory that a process has had."""

import re
import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """Resident memory of this process at its highest, in MB.

    On Linux by /proc: what `getrusage` says there includes the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
