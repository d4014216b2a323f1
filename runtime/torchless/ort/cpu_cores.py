"""The CPU cores that all sessions of a process share: together they never keep more threads busy than the process may use."""

from collections import deque
from threading import Condition

from torchless.ort.available_cpus import available_cpus

__all__ = ["CPU_CORES", "CpuCores"]


class CpuCores:
    """Lends a number of cores to runs, in the order in which the runs ask.

    Args:
        count: The number of cores.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._queue: deque[object] = deque()
        self._changed = Condition()

    @property
    def contended(self) -> bool:
        """Whether other runs hold cores, or wait for them."""
        return bool(self._queue) or self._free < self.count

    def acquire(self, count: int, *, or_single: bool) -> int:
        """Wait until cores are free, and return how many the run gets.

        Args:
            count: How many cores the run can use; at most all of them are lent.
            or_single: Whether a single core will do while other runs want cores too: several runs of one thread each get
                more done than runs of many threads, one after the other.

        Returns:
            The number of cores, for `release`.
        """
        with self._changed:
            if not self._queue and self._free == self.count:  # no other run, which is the usual case
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
            finally:  # an interrupt ends the wait too
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
