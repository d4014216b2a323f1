"""ONNX files: reading and writing, with the weights in the file or, for a large graph, in a second file beside it."""

from pathlib import Path
from typing import Any

__all__ = ["MAX_GRAPH_BYTES", "data_file", "load_graph", "pack", "save_graph"]

MAX_GRAPH_BYTES = 2_000_000_000
"""A larger graph keeps its weights in a second file: protobuf accepts less than 2 GiB."""


def load_graph(path: Path, *, typed: bool = False) -> Any:
    """Return a graph with its weights.

    Args:
        path: An ONNX file.
        typed: Whether to infer the types and shapes of the values inside the graph.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    if typed:  # before the weights are loaded: with them the model can be too large for protobuf
        model = onnx.shape_inference.infer_shapes(model)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


def save_graph(model: Any, path: Path) -> None:
    """Write a graph; weights that are too large for protobuf go to a second file.

    Args:
        model: An ONNX model.
        path: The file to write. An existing file is replaced, together with its weights.
    """
    import onnx

    del model.graph.value_info[:]  # inferred types may be out of date; they are inferred again when they are needed
    outside = sum(tensor.ByteSize() for tensor in model.graph.initializer) > MAX_GRAPH_BYTES
    data_file(path).unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=outside, location=data_file(path).name if outside else None)


def pack(graph: Path, max_graph_bytes: int) -> Path | None:
    """Move all weights of a graph into its ONNX file or, if that would be too large, into a second file beside it.

    Args:
        graph: An ONNX file.
        max_graph_bytes: A larger graph keeps its weights in a second file.

    Returns:
        The path of the second file, or None.
    """
    import onnx

    model = onnx.load(graph, load_external_data=False)
    locations = {
        entry.value
        for tensor in onnx.external_data_helper._get_all_tensors(model)  # noqa: SLF001 - no public function finds them all
        if onnx.external_data_helper.uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = [graph.with_name(location) for location in locations]
    outside = sum(path.stat().st_size for path in (graph, *files)) > max_graph_bytes
    data = data_file(graph)
    if locations != ({data.name} if outside else set()):
        onnx.external_data_helper.load_external_data_for_model(model, str(graph.parent))
        for path in files:
            path.unlink()
        onnx.save(model, graph, save_as_external_data=outside, location=data.name if outside else None)
    if not outside:
        return None
    data.chmod(graph.stat().st_mode)  # onnx lets only the owner read it
    return data


def data_file(graph: Path) -> Path:
    """Return the path of a graph's weights, named as on the Hub and in transformers.js."""
    return graph.with_name(f"{graph.name}_data")
