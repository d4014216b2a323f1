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

__all__ = ["record"]


def record(
    graph: Path, names: Sequence[str], feeds: Sequence[Mapping[str, NDArray[Any]]], *, max_rows: int
) -> dict[str, NDArray[np.float32]]:
    """Run a graph, and keep a sample of the rows of values inside it.

    Args:
        graph: An ONNX file.
        names: The values to keep, float32 of shape (…, channels).
        feeds: The graph inputs of each text, by name.
        max_rows: About the number of rows to keep of each value. Each text contributes equally many, spread evenly from
            its first row to its last.

    Returns:
        The rows by the value's name, (rows, channels).
    """
    model = with_all_tokens(onnx.load(graph, load_external_data=False))
    declared = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in declared
    )
    rows_per_text = max(1, -(-max_rows // len(feeds)))
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    # In the graph's folder: a file of weights is named relative to the graph.
    with NamedTemporaryFile(dir=graph.parent, suffix=".onnx") as file:
        file.write(model.SerializeToString())
        file.flush()
        session = Session(Path(file.name))
        for feed in feeds:
            for name, values in zip(names, session.run(feed, names), strict=True):
                rows = values.reshape(-1, values.shape[-1])
                indices = np.linspace(0, len(rows) - 1, min(rows_per_text, len(rows))).round().astype(np.intp)
                kept[name].append(rows[indices])
    return {name: np.concatenate(rows) for name, rows in kept.items()}
