"""Calls into the package tokenizers: a fork, and the exit of the process, wait until no thread is in one."""

import atexit
import os
import sys

from torchless.semaphore import Claim, Semaphore

__all__ = ["NATIVE_CALLS", "threads_used"]

NATIVE_CALLS = Semaphore(sys.maxsize)
"""Each call holds a permit, and a fork holds all of them.

So no call is in the middle of a change in a child process, and no daemon thread is in native code while Python exits.
"""

_PARALLELISM = "TOKENIZERS_PARALLELISM"
# The longest wait for other threads when the process exits.
_EXIT_TIMEOUT_S = 10.0
_held: list[Claim] = []
_used_threads = False


def threads_used() -> None:
    """Note that the package tokenizers has started its threads: a child process must not wait for them."""
    global _used_threads  # noqa: PLW0603 - it is the state of the process
    _used_threads = True


def _acquire() -> None:
    claim = NATIVE_CALLS.lend(NATIVE_CALLS.count)
    claim.acquire(sys._getframe(1))  # noqa: SLF001 - the function that forks holds the permits
    _held.append(claim)


def _release() -> None:
    while _held:
        _held.pop().release()


def _release_in_child() -> None:
    _release()
    if _used_threads and _PARALLELISM in os.environ:  # by default, tokenizers finds out by itself
        os.environ[_PARALLELISM] = "false"


atexit.register(NATIVE_CALLS.close, _EXIT_TIMEOUT_S)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_release_in_child)
