"""The CPU cores that all sessions of a process share: together they use no more threads than the process may."""

import os
from collections import deque
from threading import Condition

from torchless.ort.available_cpus import available_cpus

__all__ = ["CPU_CORES", "CpuCores"]


class CpuCores:
    """A number of cores that runs acquire and release, first come, first served.

    Args:
        count: The number of cores.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.reset()

    def reset(self) -> None:
        """Forget all runs: those of a parent process do not run in a fork."""
        self._free = self.count
        self._queue: deque[object] = deque()
        self._changed = Condition()

    @property
    def contended(self) -> bool:
        """Whether runs hold cores or wait for them."""
        return bool(self._queue) or self._free < self.count

    def acquire(self, count: int, *, or_single: bool) -> int:
        """Wait until cores are free, and acquire them.

        Args:
            count: The number of cores that the run can use, limited to the number that exist.
            or_single: Whether a single core is enough while other runs need cores: parallel runs of a single thread get
                more done than successive runs of many threads.

        Returns:
            The number of cores, for `release`.
        """
        with self._changed:
            if not self._queue and self._free == self.count:  # no other run: the usual case
                acquired = min(count, self.count)
                self._free -= acquired
                return acquired
            ticket = object()
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or self._free < self._share(count, or_single):
                    self._changed.wait()
                acquired = self._share(count, or_single)
                self._free -= acquired
            finally:  # also after an interrupt
                self._queue.remove(ticket)
                if self._queue:
                    self._changed.notify_all()
            return acquired

    def release(self, count: int) -> None:
        """Give cores back.

        Args:
            count: The number that `acquire` returned.
        """
        with self._changed:
            self._free += count
            if self._queue:
                self._changed.notify_all()

    def _share(self, count: int, or_single: bool) -> int:
        contended = len(self._queue) > 1 or self._free < self.count
        return 1 if or_single and contended else min(count, self.count)


CPU_CORES = CpuCores(available_cpus())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CPU_CORES.reset)
