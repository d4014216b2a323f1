"""How much memory a process has, and had."""

import sys
from pathlib import Path

__all__ = ["peak_bytes", "resident_bytes", "resident_bytes_of"]

_PROCESSES = Path("/proc")  # of Linux
_STATUS = _PROCESSES / "self" / "status"


def peak_bytes() -> int:
    """Return the most memory that this process had at a time.

    `ru_maxrss` begins with what the process had that started this one; `VmHWM` begins at zero.
    """
    return _of_status("VmHWM") if _STATUS.exists() else _of_usage()


def resident_bytes() -> int:
    """Return the memory that this process has now; where that is not told, the most that it had."""
    return _of_status("VmRSS") if _STATUS.exists() else _of_usage()


def resident_bytes_of(process: int) -> int:
    """Return the memory that another process has now.

    Args:
        process: Its id.

    Raises:
        OSError: There is no such process, or the system does not tell.
    """
    return _of_status("VmRSS", _PROCESSES / str(process) / "status")


def _of_status(name: str, status: Path = _STATUS) -> int:
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def _of_usage() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
