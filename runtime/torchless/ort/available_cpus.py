"""The number of CPUs that this process may use, by its CPU affinity and the quotas of its control groups."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["available_cpus"]

_MOUNTED = Path("/sys/fs/cgroup")
_PROCESS_GROUPS = Path("/proc/self/cgroup")


def available_cpus(mounted: Path = _MOUNTED, process_groups: Path = _PROCESS_GROUPS) -> int:
    """Return the number of CPUs that the scheduler grants this process, at least 1.

    Args:
        mounted: The folder where control groups are mounted.
        process_groups: The file that names the groups of this process.

    Returns:
        The size of the affinity mask or, if it is smaller, the smallest CPU quota, rounded up. The quotas are those of the
        process's group and its ancestors, in version 1 or 2 of control groups.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _folders(mounted, process_groups) if (quota := _quota(folder)) is not None]
    return max(1, min(affinity, math.ceil(min(quotas, default=affinity))))


def _folders(mounted: Path, process_groups: Path) -> Iterator[Path]:
    """Yield the folders of the groups that may limit this process; in a container, the root is the container's group."""
    yield from (mounted, mounted / "cpu")
    try:
        lines = process_groups.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:  # 0::/user.slice/session-1.scope in version 2, 4:cpu,cpuacct:/group in version 1
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if (controllers and "cpu" not in controllers.split(",")) or not group.startswith("/"):
            continue
        root = mounted / "cpu" if controllers else mounted
        inner = PurePosixPath(group).relative_to("/")
        yield from (root / part for part in (inner, *inner.parents) if part.name and ".." not in part.parts)


def _quota(folder: Path) -> float | None:
    """Return a group's quota in CPUs, from `cpu.max` in version 2 or from two files in version 1; None without a quota."""
    try:
        if (unified := folder / "cpu.max").is_file():
            quota, period = unified.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return None if quota in {"max", "-1"} else int(quota) / int(period)
