"""A semaphore whose count survives an exception at any point: an interrupt, or a signal handler that raises."""

import os
import sys
from contextlib import suppress
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from queue import Empty, SimpleQueue
from threading import get_ident
from time import monotonic, sleep
from types import FrameType, TracebackType
from weakref import WeakSet

__all__ = ["Claim", "Semaphore"]

# A waiting claim looks this often for permits that nobody gave back.
_POLL_S = 0.05
_SUSPENDABLE = CO_ASYNC_GENERATOR | CO_COROUTINE | CO_GENERATOR


class Semaphore:
    """Permits that functions hold for the length of a `with` statement, first come, first served.

    Python may raise an exception between any two bytecodes: also between the acquisition of a permit and the block that
    gives it back. So a permit belongs to the frame of the function that holds it, and is free again as soon as that frame
    has ended, whatever ended it. No step depends on a step before it: each change is a single operation of a dictionary.

    Args:
        count: The number of permits.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.reset()
        _SEMAPHORES.add(self)

    def reset(self) -> None:
        """Forget all claims: the threads of a parent process do not run in a fork."""
        self._claims: dict[Claim, None] = {}  # in the order of their arrival
        self._closed_by: int | None = None

    def lend(self, count: int = 1, *, or_single: bool = False) -> "Claim":
        """Return a context manager that waits until permits are free, and holds them. Its value is their number.

        Args:
            count: The number of permits that the caller can use, limited to the number that exist.
            or_single: Whether a single permit is enough while other callers hold or need some.
        """
        return Claim(self, count, or_single)

    @property
    def contended(self) -> bool:
        """Whether callers hold permits or wait for them."""
        return bool(self.claims())

    def claims(self) -> "list[Claim]":
        """Return the claims whose functions run, in the order of their arrival, and drop the others."""
        claims = list(self._claims)
        ended = [claim for claim in claims if not claim.is_running]
        for claim in ended:
            self._claims.pop(claim, None)
        return [claim for claim in claims if claim not in ended] if ended else claims

    def close(self, timeout_s: float) -> None:
        """Lend nothing more to other threads than this one, and wait until they have given back what they hold.

        Args:
            timeout_s: The longest time to wait, in seconds.
        """
        self._closed_by = get_ident()
        deadline = monotonic() + timeout_s
        while any(claim.permits and claim.thread != self._closed_by for claim in self.claims()):
            if monotonic() > deadline:
                return
            sleep(_POLL_S / 10)


class Claim:
    """What a function holds of a semaphore, or waits for.

    Args:
        semaphore: The semaphore.
        count: The number of permits that the function can use.
        or_single: Whether a single permit is enough while other functions hold or need some.

    Attributes:
        permits: The number of permits that it holds; 0 while it waits.
        thread: The identifier of the thread that claims.
    """

    __slots__ = ("_changed", "_count", "_frame", "_or_single", "_semaphore", "permits", "thread")

    def __init__(self, semaphore: Semaphore, count: int, or_single: bool) -> None:
        self._semaphore, self._count, self._or_single = semaphore, count, or_single
        self._changed: SimpleQueue[None] | None = None  # of a claim that waits
        self._frame: FrameType | None = None
        self.permits = 0
        self.thread = get_ident()

    def __enter__(self) -> int:
        return self.acquire(sys._getframe(1))  # noqa: SLF001 - the caller's frame has no other name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self, frame: FrameType) -> int:
        """Wait for permits, and return their number.

        Args:
            frame: The frame that holds them, at the longest until it ends.
        """
        self._frame = frame
        self._semaphore._claims[self] = None  # noqa: SLF001 - the two classes are one
        if not self._take():
            changed = self._changed = SimpleQueue()
            while not self._take():
                with suppress(Empty):
                    changed.get(timeout=_POLL_S)
        return self.permits

    def release(self) -> None:
        """Give the permits back."""
        self._semaphore._claims.pop(self, None)  # noqa: SLF001 - as above
        self._frame = None
        if self._semaphore._claims:  # noqa: SLF001 - as above
            self._wake_next()

    @property
    def is_running(self) -> bool:
        """Whether the function of this claim has not ended."""
        frame = self._frame
        if frame is None:
            return False
        if frame.f_code.co_flags & _SUSPENDABLE:  # to clear it would close it
            return True
        try:
            frame.clear()
        except RuntimeError:  # it is executing
            return True
        return False

    def _take(self) -> bool:
        """Take permits if it is this claim's turn. Only the first waiting claim takes any, so none are taken twice."""
        semaphore = self._semaphore
        if len(semaphore._claims) == 1 and semaphore._closed_by is None:  # noqa: SLF001 - as above
            self.permits = min(self._count, semaphore.count)
            return True
        claims = semaphore.claims()
        first = next((claim for claim in claims if not claim.permits), None)
        if first is not self or semaphore._closed_by not in (None, self.thread):  # noqa: SLF001 - as above
            return False
        needed = 1 if self._or_single and len(claims) > 1 else min(self._count, semaphore.count)
        if needed > semaphore.count - sum(claim.permits for claim in claims):
            return False
        self.permits = needed
        if claims[-1] is not self:
            self._wake_next()
        return True

    def _wake_next(self) -> None:
        """Wake the first waiting claim. If an interrupt prevents this, the claim wakes by itself."""
        waiting = next((claim for claim in list(self._semaphore._claims) if not claim.permits), None)  # noqa: SLF001 - as above
        if waiting is not None and waiting._changed is not None:  # noqa: SLF001 - as above
            waiting._changed.put(None)  # noqa: SLF001 - as above


_SEMAPHORES: WeakSet[Semaphore] = WeakSet()


def _reset_all() -> None:
    for semaphore in list(_SEMAPHORES):
        semaphore.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
