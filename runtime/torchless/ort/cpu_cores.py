"""Who works on how many cores: all models of a process together never keep more threads busy than it may use."""

from collections import deque
from threading import Condition

from torchless.ort.available_cpus import available_cpus

__all__ = ["CORES", "Cores"]


class Cores:
    """A number of cores, lent to runs in the order in which they ask.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._queue: deque[object] = deque()
        self._changed = Condition()

    @property
    def wanted_by_others(self) -> bool:
        """Whether a run that asked now would not be the only one."""
        return bool(self._queue) or self._free < self.count

    def take(self, wanted: int, *, or_one: bool) -> int:
        """Take cores, once they are free.

        Args:
            wanted: How many, at most all there are.
            or_one: Whether one will do while others want cores too: many runs of one thread each get more done than one
                run of many threads after the other.

        Returns:
            How many were taken, to be given back: as many as were wanted and there are, or one.
        """
        with self._changed:
            if not self._queue and self._free == self.count:  # alone, as most are
                taken = min(wanted, self.count)
                self._free -= taken
                return taken
            ticket = object()
            self._queue.append(ticket)
            try:
                while self._queue[0] is not ticket or self._free < self._due(wanted, or_one):
                    self._changed.wait()
                taken = self._due(wanted, or_one)
                self._free -= taken
            finally:  # an interrupt ends the wait too
                self._queue.remove(ticket)
                if self._queue:
                    self._changed.notify_all()
            return taken

    def give_back(self, taken: int) -> None:
        """Give cores back that were taken."""
        with self._changed:
            self._free += taken
            if self._queue:
                self._changed.notify_all()

    def _due(self, wanted: int, or_one: bool) -> int:
        others = len(self._queue) > 1 or self._free < self.count
        return 1 if or_one and others else min(wanted, self.count)


CORES = Cores(available_cpus())
