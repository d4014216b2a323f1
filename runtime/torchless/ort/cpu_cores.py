"""The CPU cores that all sessions of a process share: together they use no more threads than the process may."""

import atexit

from torchless.ort.available_cpus import available_cpus
from torchless.semaphore import Semaphore

__all__ = ["CPU_CORES"]

# The longest wait for a run of another thread when the process exits.
_EXIT_TIMEOUT_S = 10.0

CPU_CORES = Semaphore(available_cpus())
"""A permit is a core. Parallel runs of a single thread get more done than successive runs of many threads."""

# A daemon thread that comes back from ONNX Runtime while Python exits aborts the process.
atexit.register(CPU_CORES.close, _EXIT_TIMEOUT_S)
