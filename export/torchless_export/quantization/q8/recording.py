"""What flows through a graph while it answers."""

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
    """Run a graph, and keep some of the rows of values inside of it.

    Args:
        graph: An ONNX file.
        names: The values to keep, floats of (…, channels).
        feeds: What the graph is given, by name, one text a feed.
        max_rows: About how many rows to keep of each value; every text gives as many, its first and last among them.

    Returns:
        The rows by name, (rows, channels).
    """
    model = with_all_tokens(onnx.load(graph, load_external_data=False))
    declared = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in declared
    )
    each = max(1, -(-max_rows // len(feeds)))
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    # Beside the graph, since its weights may be in a file that it names relative to itself.
    with NamedTemporaryFile(dir=graph.parent, suffix=".onnx") as file:
        file.write(model.SerializeToString())
        file.flush()
        session = Session(Path(file.name))
        for feed in feeds:
            for name, values in zip(names, session.run(feed, names), strict=True):
                rows = values.reshape(-1, values.shape[-1])
                some = np.linspace(0, len(rows) - 1, min(each, len(rows))).round().astype(np.intp)
                kept[name].append(rows[some])
    return {name: np.concatenate(rows) for name, rows in kept.items()}
