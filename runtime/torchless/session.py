"""An ONNX Runtime session: the one module that imports onnxruntime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from torchless.errors import CheckpointError, InputError, OptionError, check_whole_number, nearest
from torchless.threads import available_cpus

__all__ = ["Session", "Tensor"]

_NUMPY_DTYPES = {
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(int64)": np.dtype(np.int64),
}
_ERRORS_ONLY = 3


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

    Args:
        graph: An ONNX file.
        threads: How many threads one run may use; by default what the machine grants this process.
        providers: ONNX Runtime's execution providers, the preferred first; by default the CPU.

    Attributes:
        inputs: What the graph takes, by name.
        outputs: What it answers, by name, in its order.

    Raises:
        CheckpointError: The file is damaged, or not a graph that ONNX Runtime can run.
        OptionError: A provider that this build of ONNX Runtime lacks, or threads below 1.
    """

    def __init__(self, graph: Path, *, threads: int | None = None, providers: Sequence[str] | None = None) -> None:
        check_whole_number("threads", threads, at_least=1, hint="Give a number of threads, or None.")
        chosen = ["CPUExecutionProvider"] if providers is None else list(providers)
        for provider in chosen:
            if provider not in ort.get_available_providers():
                raise OptionError(
                    f"This build of ONNX Runtime has no provider {provider!r}.",
                    hint=nearest(provider, ort.get_available_providers()),
                )
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads or available_cpus()
        settings.log_severity_level = _ERRORS_ONLY
        # x86 CPUs without VNNI add products of 8-bit integers in 16 bits, where they saturate; so they are kept exact.
        settings.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(str(graph), settings, providers=chosen)
        except Exception as error:  # ONNX Runtime's own errors share no base class below Exception
            raise CheckpointError(
                f"ONNX Runtime cannot load {graph}: {_first_line(error)}",
                hint="The file is damaged or was made for another version; copy it again, or export it again.",
            ) from error
        self.graph = graph
        self.inputs = {node.name: _tensor(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: _tensor(node) for node in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """Run the graph once.

        Args:
            feeds: An array for each input, in the dtype and with the axes that `inputs` declares.
            outputs: The outputs to compute, by default all.

        Returns:
            An array an output, in the order asked for.

        Raises:
            InputError: ONNX Runtime refuses the arrays.
        """
        try:
            arrays: list[NDArray[Any]] = self._session.run(outputs, feeds)
        except Exception as error:  # as above
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
            raise InputError(
                f"{self.graph} refuses these inputs ({shapes}): {_first_line(error)}",
                hint="Check the shapes; a text longer than the model takes needs truncation=True.",
            ) from error
        return arrays


def _tensor(node: Any) -> Tensor:
    shape = tuple(axis if isinstance(axis, int) else None for axis in node.shape)
    axes = tuple("?" if axis is None else str(axis) for axis in node.shape)
    return Tensor(_NUMPY_DTYPES.get(node.type, np.dtype(object)), shape, axes)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
