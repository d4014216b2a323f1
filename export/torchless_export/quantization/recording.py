"""The values inside a graph, recorded while it runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from torchless.ort.session import Session
from torchless_export.graph.classifier_head import with_all_tokens

__all__ = ["Recorder", "Rows"]


class Rows:
    """Rows of values by name, in files: those of a large model do not fit into memory.

    Args:
        folder: An empty folder for the files.

    Attributes:
        runs: In how many runs of a graph they were recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.runs = 0
        self._folder = folder
        self._files: dict[str, tuple[Path, int]] = {}

    def add(self, name: str, rows: NDArray[np.float32]) -> None:
        """Add rows of a value.

        Args:
            name: The value's name.
            rows: (rows, channels).
        """
        path, _ = self._files.setdefault(name, (self._folder / str(len(self._files)), rows.shape[1]))
        with path.open("ab") as file:
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return all rows of a value, (rows, channels)."""
        path, channels = self._files[name]
        return np.fromfile(path, np.float32).reshape(-1, channels)


class Recorder:
    """Runs a graph, and keeps rows of the values inside it.

    Args:
        graph: An ONNX file.
        names: The values to keep, float32 of shape (…, channels).
        rows: Where they are kept.
        rows_per_run: How many rows of a value are kept at most in a run, spread evenly from its first row to its last.
    """

    def __init__(self, graph: Path, names: Sequence[str], rows: Rows, *, rows_per_run: int) -> None:
        model = with_all_tokens(onnx.load(graph, load_external_data=False))
        self._outputs = [value.name for value in model.graph.output]
        model.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in self._outputs
        )
        self._names, self._rows, self._rows_per_run = list(names), rows, rows_per_run
        # In the graph's folder: a file of weights is named relative to the graph.
        with NamedTemporaryFile(dir=graph.parent, suffix=".onnx") as file:
            file.write(model.SerializeToString())
            file.flush()
            self._session = Session(Path(file.name))

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """Run the graph as `Session.run` does.

        Args:
            feeds: The inputs by name.
            outputs: The names of the outputs; by default all of the graph's.
        """
        outputs = self._outputs if outputs is None else list(outputs)
        arrays = self._session.run(feeds, [*outputs, *self._names])
        self._rows.runs += 1
        for name, values in zip(self._names, arrays[len(outputs) :], strict=True):
            rows = values.reshape(-1, values.shape[-1])
            kept = np.linspace(0, len(rows) - 1, min(self._rows_per_run, len(rows))).round().astype(np.intp)
            self._rows.add(name, rows[kept])
        return arrays[: len(outputs)]
