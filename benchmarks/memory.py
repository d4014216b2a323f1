"""How much memory this process has, and had."""

import sys
from pathlib import Path

__all__ = ["peak_bytes", "resident_bytes"]

_STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Return the most memory that this process had at a time.

    `ru_maxrss` begins with what the process had that started this one; `VmHWM` begins at zero.
    """
    return _of_status("VmHWM") if _STATUS.exists() else _of_usage()


def resident_bytes() -> int:
    """Return the memory that this process has now; where that is not told, the most that it had."""
    return _of_status("VmRSS") if _STATUS.exists() else _of_usage()


def _of_status(name: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def _of_usage() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
