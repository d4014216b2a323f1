"""How many threads this process may really use: its CPU affinity and its control groups' quotas."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_cpus"]

_MOUNTED = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def available_cpus(mounted: Path = _MOUNTED, process_groups: Path = _OWN) -> int:
    """Return the CPUs that the scheduler grants this process, at least 1.

    Args:
        mounted: Where the files of control groups are.
        process_groups: The file that names the groups of this process.

    Returns:
        The smaller of the affinity mask's size and the least CPU quota, rounded up: of the process's group and of those
        around it, in version 1 or 2 of control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(mounted, process_groups) if (quota := _quota(folder)) is not None]
    return max(1, min(affinity, math.ceil(min(quotas, default=affinity))))


def _folders(mounted: Path, process_groups: Path) -> Iterator[Path]:
    """Yield the folders of the groups that may limit this process; a container sees its own group as the root."""
    yield from (mounted, mounted / "cpu")
    try:
        lines = process_groups.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:  # 0::/user.slice/session-1.scope, or of version 1: 4:cpu,cpuacct:/group
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if (controllers and "cpu" not in controllers.split(",")) or not group.startswith("/"):
            continue
        root = mounted / "cpu" if controllers else mounted
        inner = PurePosixPath(group).relative_to("/")
        yield from (root / part for part in (inner, *inner.parents) if part.name and ".." not in part.parts)


def _quota(folder: Path) -> float | None:
    """Return a group's quota in CPUs: `cpu.max` of version 2, or the two files of version 1."""
    try:
        if (unified := folder / "cpu.max").is_file():
            quota, period = unified.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
