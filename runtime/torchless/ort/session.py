"""An ONNX Runtime session, or two: one run on all cores, or many runs on a core each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from torchless.errors import CheckpointError, InputError, check_whole_number
from torchless.folder.onnx_file import external_files
from torchless.ort.cpu_cores import CPU_CORES
from torchless.ort.mapped_graph import mapped_graph
from torchless.ort.providers import CPU, check_providers, chosen_providers, use_providers
from torchless.ort.saturation import eight_bit_products_saturate

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
_UNKNOWN_DTYPE = np.dtype(object)
# ONNX Runtime writes an error to stderr before it raises the same; the lines would stand beside ours.
_FATAL_ONLY = 4
# Loading a graph again costs as much as some runs, so a graph is loaded for single threads once it has waited this often.
_CONTENDED_RUNS = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output that a graph declares.

    Attributes:
        dtype: Of its elements.
        shape: The length of each axis; None where it may be any.
        axes: The same in words: the length, or the graph's own name for an axis of any.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    axes: tuple[str, ...]


class Session:
    """A graph, loaded and ready to run. Any number of threads may run it at once.

    A run that is alone in the process uses all of the session's threads. Where several are asked for at once, of this
    graph or of others, they run side by side on a core each, which gets more done; the graph is then loaded a second time,
    for single threads, and shares its mapped weights with the first.

    Args:
        graph: An ONNX file.
        threads: How many threads one run may use; by default what the machine grants this process. 1 never loads twice.
        providers: ONNX Runtime's execution providers, the preferred first; by default the CPU.
        plan_memory: Let ONNX Runtime plan the memory of a run by its shapes, and keep the plan for when they come again.

    Attributes:
        inputs: What the graph takes, by name.
        optional_inputs: What may be left out, by name, as the graph has a value for it.
        outputs: What it answers, by name, in its order.
        providers: What computes it.
        on_cpu: Whether the CPU alone does, as ONNX Runtime itself does it.
        workers: How many runs at once get the most done.
        threads: As given, or as found.

    Raises:
        CheckpointError: The file is damaged, or not a graph that ONNX Runtime can run.
        OptionError: There is no such provider here, it cannot start, or threads is below 1.
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
        self.threads = threads or CPU_CORES.count
        self.providers = chosen_providers(providers)
        self.on_cpu = self.providers == (CPU,)
        self.workers = min(self.threads, CPU_CORES.count) if self.on_cpu else 1
        self._session = self._load(self.threads, plan_memory=plan_memory)
        self._single_threaded = self._session if self.threads == 1 else None
        self._loading = Lock()
        self._contended_runs = 0
        self.inputs = {node.name: _tensor(node) for node in self._session.get_inputs()}
        self.optional_inputs = {node.name: _tensor(node) for node in self._session.get_overridable_initializers()}
        self.outputs = {node.name: _tensor(node) for node in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """Run the graph once.

        Args:
            feeds: An array for each input, with the axes that `inputs` declares, and cast to the dtype that it declares.
            outputs: The outputs to compute, by default all.

        Returns:
            An array an output, in the order asked for.

        Raises:
            InputError: ONNX Runtime refuses the arrays.
        """
        feeds = {name: self._cast(name, array) for name, array in feeds.items()}
        if not self.on_cpu:  # another processor does the work
            return self._run_session(self._session, feeds, outputs)
        if CPU_CORES.contended:
            self._contended_runs += 1
        acquired = CPU_CORES.acquire(self.threads, or_single=self._contended_runs > _CONTENDED_RUNS)
        try:
            session = self._session if acquired >= self.workers else self._single_threaded_session()
            return self._run_session(session, feeds, outputs)
        finally:
            CPU_CORES.release(acquired)

    def _cast(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        tensor = self.inputs.get(name) or self.optional_inputs.get(name)
        if tensor is None or tensor.dtype in (array.dtype, _UNKNOWN_DTYPE):  # ONNX Runtime says what it takes
            return array
        return array.astype(tensor.dtype)

    def prepare_for_contention(self) -> None:
        """Load the single-threaded session now, so that no run waits for it once runs compete for cores."""
        if self.workers > 1:
            self._single_threaded_session()
            self._contended_runs = _CONTENDED_RUNS

    def _run_session(
        self, session: ort.InferenceSession, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None
    ) -> list[NDArray[Any]]:
        try:
            arrays: list[NDArray[Any]] = session.run(outputs, feeds)
        except Exception as error:  # ONNX Runtime's own errors share no base class below Exception
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise InputError(
                f"{self.graph} refuses these inputs ({shapes}): {_first_line(error)}",
                hint="Check the shapes; a text longer than the model takes needs truncation=True.",
            ) from error
        return arrays

    def _single_threaded_session(self) -> ort.InferenceSession:
        with self._loading:
            if self._single_threaded is None:
                # Runs that compete are batches of many shapes: their memory plans would seldom be used, and all kept.
                self._single_threaded = self._load(threads=1, plan_memory=False)
            return self._single_threaded

    def _load(self, threads: int, *, plan_memory: bool) -> ort.InferenceSession:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.log_severity_level = _FATAL_ONLY
        settings.enable_mem_pattern = plan_memory
        # Threads that wait for work spin, which is quick; but once a run is over, they would slow whatever comes next.
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        if eight_bit_products_saturate():
            settings.add_session_config_entry("session.x64quantprecision", "1")
        providers = use_providers(settings, self.providers)
        # Its kernel is slower than the addition and the normalisation that it replaces.
        slow = ["SkipLayerNormFusion"] if self.on_cpu else None
        try:
            session = ort.InferenceSession(
                self._model(settings),
                settings,
                providers=providers,
                disabled_optimizers=slow,
                enable_fallback=not self.on_cpu,  # it prints that it tries the CPU next
            )
        except Exception as error:  # as above
            raise CheckpointError(
                f"ONNX Runtime cannot load {self.graph}: {_first_line(error)}",
                hint="The file is damaged or was made for another version; copy it again, or export it again.",
            ) from error
        check_providers(self.providers, session.get_providers())
        return session

    def _model(self, settings: ort.SessionOptions) -> str | bytes:
        """Return the graph with its weights left in the file or, where another processor takes them over, its path."""
        if not self.on_cpu:
            return str(self.graph)
        graph = self.graph.resolve()
        try:
            # The Hub's cache holds links to files of other names: there ONNX Runtime itself finds what is beside the link.
            if self.graph.is_symlink() and external_files(graph):
                return str(self.graph)
            model = mapped_graph(graph)
        except ValueError:  # damaged: ONNX Runtime says how
            return str(self.graph)
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.parent))
        return model


@contextmanager
def single_threaded(*sessions: Session) -> Iterator[None]:
    """Within the context, runs use the single-threaded session, as they do when runs compete for cores.

    Args:
        sessions: The sessions that run, on this thread alone.
    """
    for session in sessions:
        session.prepare_for_contention()
    acquired = CPU_CORES.acquire(1, or_single=True) if any(session.workers > 1 for session in sessions) else 0
    try:
        yield
    finally:
        CPU_CORES.release(acquired)


def _tensor(node: Any) -> Tensor:
    shape = tuple(axis if isinstance(axis, int) else None for axis in node.shape)
    axes = tuple("?" if axis is None else str(axis) for axis in node.shape)
    return Tensor(_NUMPY_DTYPES.get(node.type, _UNKNOWN_DTYPE), shape, axes)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
