"""A graph in one or two ONNX Runtime sessions: for a run on all cores, and for parallel runs on a core each."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from torchless.errors import CheckpointError, InputError, check_whole_number
from torchless.ort.cpu_cores import CPU_CORES
from torchless.ort.graph_files import GraphFiles
from torchless.ort.providers import CPU, check_providers, chosen_providers, use_providers
from torchless.ort.saturation import eight_bit_products_saturate
from torchless.semaphore import Semaphore

__all__ = ["Session", "Tensor", "single_threaded"]

_NUMPY_DTYPES = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(double)": np.dtype(np.float64),
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int8)": np.dtype(np.int8),
    "tensor(int16)": np.dtype(np.int16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(uint16)": np.dtype(np.uint16),
    "tensor(uint32)": np.dtype(np.uint32),
    "tensor(uint64)": np.dtype(np.uint64),
}
_OUT_OF_MEMORY = re.compile("bad_alloc|[Ff]ailed to allocate memory|[Cc]annot allocate memory|[Oo]ut of memory")
# A line of ONNX Runtime's code, which its errors begin with.
_SOURCE_FILE = re.compile(r"/\S*/onnxruntime/\S+\s")
_UNKNOWN_DTYPE = np.dtype(object)
# ONNX Runtime writes an error to stderr before it raises the same error; the lines would stand beside ours.
_FATAL_ONLY = 4
# Loading a graph again costs as much as some runs, so the single-threaded session is loaded after as many contended runs.
_CONTENDED_RUNS = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output that a graph declares.

    Attributes:
        dtype: The dtype of the elements.
        shape: The length of each axis; None if the length may vary.
        axes: The length of each axis as text, or the graph's name for an axis whose length may vary.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    axes: tuple[str, ...]


class Session:
    """A loaded graph. Any number of threads may run it at the same time.

    The only run in a process uses all of the session's threads. Runs that compete, of this graph or of other graphs, use a
    core each, which gets more done. For them the graph is loaded a second time, for a single thread; both sessions share
    the mapped weights.

    Args:
        graph: An ONNX file.
        threads: The number of threads of a run; by default the CPUs that this process may use. 1 never loads twice.
        providers: ONNX Runtime's execution providers, in order of preference; by default the CPU.
        plan_memory: Whether ONNX Runtime plans the memory of a run by its shapes, and keeps the plan for equal shapes.

    Attributes:
        inputs: The required inputs, by name.
        optional_inputs: The inputs with a default value, by name.
        outputs: The outputs, by name, in the graph's order.
        providers: The full names of the execution providers.
        on_cpu: Whether the CPU provider is the only provider.
        workers: The number of parallel runs that gets the most done.
        threads: The number of threads of a run.

    Raises:
        CheckpointError: The file is damaged, or ONNX Runtime cannot run the graph.
        OptionError: A provider is not available or cannot start, or threads is below 1.
    """

    def __init__(
        self,
        graph: Path,
        *,
        threads: int | None = None,
        providers: str | Sequence[str] | None = None,
        plan_memory: bool = True,
    ) -> None:
        check_whole_number("threads", threads, at_least=1, hint="Give a number of threads, or None.")
        self.graph = graph
        self._files = GraphFiles(graph)
        self.threads = threads or CPU_CORES.count
        self.providers = chosen_providers(providers)
        self.on_cpu = self.providers == (CPU,)
        self.workers = min(self.threads, CPU_CORES.count) if self.on_cpu else 1
        self._plan_memory = plan_memory
        self._reloading = Semaphore()
        self._load_sessions()
        _SESSIONS.add(self)
        try:
            self.inputs = {node.name: _tensor(node) for node in self._session.get_inputs()}
            self.optional_inputs = {node.name: _tensor(node) for node in self._session.get_overridable_initializers()}
            self.outputs = {node.name: _tensor(node) for node in self._session.get_outputs()}
        except UnicodeDecodeError as error:
            raise CheckpointError(
                f"{graph} has a name that is not text in UTF-8: {error}.",
                hint="The file is damaged; copy it again, or export it again.",
            ) from error

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """Run the graph once.

        Args:
            feeds: An array for each input, by name, with the axes that `inputs` declares; it is cast to the declared dtype.
            outputs: The names of the outputs to compute; by default all.

        Returns:
            An array for each output, in the order of `outputs`.

        Raises:
            InputError: ONNX Runtime rejects the arrays.
        """
        if self._pid != os.getpid():
            self._load_after_fork()
        feeds = {name: self._cast(name, array) for name, array in feeds.items()}
        if not self.on_cpu:  # the run needs no CPU cores
            return self._run_session(self._session, feeds, outputs)
        if CPU_CORES.contended:
            self._contended_runs += 1
        with CPU_CORES.lend(self.threads, or_single=self._contended_runs > _CONTENDED_RUNS) as cores:
            session = self._session if cores >= self.workers else self._single_threaded_session()
            return self._run_session(session, feeds, outputs)

    def holds(self, name: bytes) -> bool:
        """Return whether the graph's file holds some bytes, such as the name of an operator."""
        return self._files.holds(name)

    def after_fork(self) -> None:
        """Prepare for a new process: its first run loads the graph again."""
        _never_destroy(self._session, self._single_threaded)

    def _load_sessions(self) -> None:
        self._session = self._load(self.threads, plan_memory=self._plan_memory)
        self._single_threaded = self._session if self.threads == 1 else None
        self._loading = Semaphore()
        self._contended_runs = 0
        self._pid = os.getpid()

    def _load_after_fork(self) -> None:
        """Load again, since the threads of ONNX Runtime exist in the parent process alone."""
        with self._reloading.lend():
            if self._pid != os.getpid():
                self._load_sessions()

    def _cast(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        tensor = self.inputs.get(name) or self.optional_inputs.get(name)
        if tensor is None or tensor.dtype in (array.dtype, _UNKNOWN_DTYPE):  # ONNX Runtime raises with the reason
            return array
        return array.astype(tensor.dtype)

    def prepare_for_contention(self) -> None:
        """Load the single-threaded session now, so that no run has to wait for it later."""
        if self.workers > 1:
            self._single_threaded_session()
            self._contended_runs = _CONTENDED_RUNS

    def _run_session(
        self, session: ort.InferenceSession, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None
    ) -> list[NDArray[Any]]:
        try:
            arrays: list[NDArray[Any]] = session.run(outputs, feeds)
        except Exception as error:  # ONNX Runtime's errors have no common base class but Exception
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            line = _SOURCE_FILE.sub("", _first_line(error))
            hint = "Check the shapes: the graph may take other lengths. truncation=True, max_length=N cuts a text."
            if "out of data bounds" in line:
                hint = (
                    "A token id or a position is beyond a table of the model: use the model's tokenizer, or cut the text with "
                    "truncation=True, max_length=N."
                )
            raise InputError(f"{self.graph.name} refuses these inputs ({shapes}): {line}", hint=hint) from error
        return arrays

    def _single_threaded_session(self) -> ort.InferenceSession:
        with self._loading.lend():
            if self._single_threaded is None:
                # Competing runs are batches of many shapes: their memory plans would fill memory, and seldom be used.
                self._single_threaded = self._load(threads=1, plan_memory=False)
            return self._single_threaded

    def _load(self, threads: int, *, plan_memory: bool) -> ort.InferenceSession:
        path = self._files.path()
        if path is not None:
            try:
                session = self._load_from(path, threads, plan_memory=plan_memory)
            except CheckpointError:
                if self._files.is_at(path):
                    raise
            else:
                if self._files.is_at(path):  # nobody replaced the files meanwhile
                    return session
        return self._load_from(None, threads, plan_memory=plan_memory)

    def _load_from(self, path: Path | None, threads: int, *, plan_memory: bool) -> ort.InferenceSession:
        """Load the graph from a path or, if that is None, from the open files."""
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = _FATAL_ONLY
        settings.enable_mem_pattern = plan_memory
        # Waiting threads spin, which makes a run faster; after the run they would slow down other threads.
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        if eight_bit_products_saturate():
            settings.add_session_config_entry("session.x64quantprecision", "1")
        providers = use_providers(settings, self.providers)
        # The fused kernel is slower than the addition and the normalization that it replaces.
        slow = ["SkipLayerNormFusion"] if self.on_cpu else None
        try:
            session = ort.InferenceSession(
                self._model(path, settings),
                settings,
                providers=providers,
                disabled_optimizers=slow,
                enable_fallback=not self.on_cpu,  # it prints that it tries the CPU next
            )
        except CheckpointError:
            raise
        except Exception as error:  # as above
            line = _first_line(error)
            if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(line):
                raise CheckpointError(
                    f"There is not enough memory to load {self.graph}: {line}",
                    hint="Free memory, or load a smaller variant, such as dtype='q8'.",
                ) from error
            raise CheckpointError(
                f"ONNX Runtime cannot load {self.graph}: {line}",
                hint="The file is damaged or needs another version of ONNX Runtime; copy it again, or export it again.",
            ) from error
        check_providers(self.providers, session.get_providers())
        return session

    def _model(self, path: Path | None, settings: ort.SessionOptions) -> str | bytes:
        if path is None:
            return self._files.model_in_memory(settings)
        # If another device needs the weights, ONNX Runtime reads them.
        return self._files.model_at(path, settings) if self.on_cpu else str(path)


def single_threaded(*sessions: Session) -> AbstractContextManager[object]:
    """Make runs within a `with` statement use the single-threaded session, as if they competed for cores.

    Args:
        sessions: The sessions that run, all on this thread.
    """
    for session in sessions:
        session.prepare_for_contention()
    return CPU_CORES.lend() if any(session.workers > 1 for session in sessions) else nullcontext()


def _never_destroy(*sessions: ort.InferenceSession | None) -> None:
    """Keep sessions of the parent process: their destructors would wait for threads that this process does not have."""
    import ctypes  # noqa: PLC0415 - no other process needs it

    for session in sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


_SESSIONS: WeakSet[Session] = WeakSet()


def _after_fork() -> None:
    for session in list(_SESSIONS):
        session.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _tensor(node: Any) -> Tensor:
    shape = tuple(axis if isinstance(axis, int) else None for axis in node.shape)
    axes = tuple("?" if axis is None else str(axis) for axis in node.shape)
    return Tensor(_NUMPY_DTYPES.get(node.type, _UNKNOWN_DTYPE), shape, axes)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
