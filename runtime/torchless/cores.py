"""Who works on how many cores: all models of a process together never keep more threads busy than it may use."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from torchless.threads import available_cpus

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

    @contextmanager
    def lent(self, wanted: int, *, or_one: bool) -> Iterator[bool]:
        """Lend some cores for as long as the context lasts; wait until they are free.

        Args:
            wanted: How many, at most all there are.
            or_one: Whether one will do while others want cores too: many runs of one thread each get more done than one
                run of many threads after the other.

        Yields:
            Whether it is as many as were wanted; else it is one.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            try:
                self._changed.wait_for(lambda: self._queue[0] is ticket and self._free >= self._due(wanted, or_one))
            except BaseException:  # an interrupt while it waits
                self._queue.remove(ticket)
                self._changed.notify_all()
                raise
            lent = self._due(wanted, or_one)
            self._queue.popleft()
            self._free -= lent
            self._changed.notify_all()
        try:
            yield lent == min(wanted, self.count)
        finally:
            with self._changed:
                self._free += lent
                self._changed.notify_all()

    def _due(self, wanted: int, or_one: bool) -> int:
        others = len(self._queue) > 1 or self._free < self.count
        return 1 if or_one and others else min(wanted, self.count)


CORES = Cores(available_cpus())
