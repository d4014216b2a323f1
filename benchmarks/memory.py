"""The current and the peak memory of a process."""

import sys
from pathlib import Path

__all__ = ["peak_bytes", "resident_bytes", "resident_bytes_of"]

_PROCESSES = Path("/proc")  # Linux
_STATUS = _PROCESSES / "self" / "status"


def peak_bytes() -> int:
    """Return the peak memory of this process.

    `ru_maxrss` starts with the memory of the parent process. `VmHWM` starts at zero.
    """
    return _status_bytes("VmHWM") if _STATUS.exists() else _usage_bytes()


def resident_bytes() -> int:
    """Return the current memory of this process, or the peak if the system does not report the current memory."""
    return _status_bytes("VmRSS") if _STATUS.exists() else _usage_bytes()


def resident_bytes_of(process: int) -> int:
    """Return the current memory of another process.

    Args:
        process: The id of the process.

    Raises:
        OSError: There is no such process, or the system does not report its memory.
    """
    return _status_bytes("VmRSS", _PROCESSES / str(process) / "status")


def _status_bytes(name: str, status: Path = _STATUS) -> int:
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def _usage_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
