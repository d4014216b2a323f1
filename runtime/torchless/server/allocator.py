"""The memory allocator of the process: large blocks go back to the system when they are freed."""

import ctypes
import os
import platform

__all__ = ["return_large_blocks"]

# Source: mallopt(3) of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE_BYTES = 131_072  # glibc's own first value of both


def return_large_blocks() -> None:
    """Make glibc give blocks from 128 KiB on back to the system when they are freed; other libraries stay as they are.

    By default, glibc raises this size to that of the largest block freed so far, up to 32 MiB, and keeps smaller ones: a few large
    bodies at the same time would raise the memory of a server for good. Settings of the environment win.
    """
    if platform.libc_ver()[0] != "glibc" or os.environ.keys() & {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}:
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        mallopt(parameter, _LARGE_BYTES)
