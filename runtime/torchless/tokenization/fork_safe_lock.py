"""Forks of a process that has tokenizers: locks that no other thread holds then, and threads that a child does not have."""

import atexit
import os
import sys
from weakref import WeakSet

from torchless.semaphore import Claim, Semaphore

__all__ = ["fork_safe_lock", "threads_used"]

_LOCKS: WeakSet[Semaphore] = WeakSet()
_FORKING = Semaphore()
_HELD: list[Claim] = []
_PARALLELISM = "TOKENIZERS_PARALLELISM"
_used_threads = False
# The longest wait for another thread when the process exits.
_EXIT_TIMEOUT_S = 10.0


def fork_safe_lock() -> Semaphore:
    """Return a new lock: `with lock.lend():`. A fork waits for it, and so does the exit of the process.

    What the lock guards is then never in the middle of a change in the child process, and no daemon thread is in native code
    while Python exits.
    """
    lock = Semaphore()
    _LOCKS.add(lock)
    return lock


def threads_used() -> None:
    """Note that the package tokenizers has started its threads: a child process must not wait for them."""
    global _used_threads  # noqa: PLW0603 - it is the state of the process
    _used_threads = True


def _acquire() -> None:
    frame = sys._getframe(1)  # noqa: SLF001 - the function that forks holds the locks
    for lock in (_FORKING, *_LOCKS):
        claim = lock.lend()
        claim.acquire(frame)
        _HELD.append(claim)


def _release() -> None:
    while _HELD:
        _HELD.pop().release()


def _release_in_child() -> None:
    _release()
    if _used_threads and _PARALLELISM in os.environ:  # by default, tokenizers finds out by itself
        os.environ[_PARALLELISM] = "false"


def _close() -> None:
    for lock in list(_LOCKS):
        lock.close(_EXIT_TIMEOUT_S)


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release_in_child)
