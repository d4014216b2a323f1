"""Locks that no other thread holds while a process forks."""

import os
from threading import Lock
from weakref import WeakSet

__all__ = ["fork_safe_lock"]

_LOCKS: WeakSet[Lock] = WeakSet()
_FORKING = Lock()
_HELD: list[Lock] = []


def fork_safe_lock() -> Lock:
    """Return a new lock. A fork waits for it, since it would be held for ever in the child process of a thread that holds it.

    What the lock guards is then never in the middle of a change in the child process either.
    """
    lock = Lock()
    _LOCKS.add(lock)
    return lock


def _acquire() -> None:
    _FORKING.acquire()
    for lock in list(_LOCKS):
        lock.acquire()
        _HELD.append(lock)


def _release() -> None:
    while _HELD:
        _HELD.pop().release()
    _FORKING.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release)
