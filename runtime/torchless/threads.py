"""How many threads this process may really use: its CPU affinity and its container's quota."""

import math
import os
from pathlib import Path

__all__ = ["available_cpus"]

_CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = _CGROUP) -> int:
    """Return the CPUs that the scheduler grants this process, at least 1.

    Args:
        cgroup: Where the control group's files are mounted.

    Returns:
        The smaller of the affinity mask's size and the CPU quota, rounded up.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the quota in CPUs: `cpu.max` of version 2, or the two files of version 1."""
    try:
        if (unified := cgroup / "cpu.max").is_file():
            quota, period = unified.read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
