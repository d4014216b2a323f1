"""ONNX files: read and written, with the weights in the file or, where it would be too large, in one beside it."""

from pathlib import Path
from typing import Any

__all__ = ["MAX_GRAPH_BYTES", "data_file", "load_graph", "pack", "save_graph"]

MAX_GRAPH_BYTES = 2_000_000_000
"""A graph that is larger keeps its weights in a file of their own: protobuf takes less than 2 GiB."""


def load_graph(path: Path, *, typed: bool = False) -> Any:
    """Return a graph with its weights.

    Args:
        path: An ONNX file.
        typed: Whether to infer the types and shapes of what it computes.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    if typed:  # without the weights that lie outside: with them it may be more than protobuf takes
        model = onnx.shape_inference.infer_shapes(model)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


def save_graph(model: Any, path: Path) -> None:
    """Write a graph, with its weights outside where protobuf could not take them.

    Args:
        model: An ONNX model.
        path: The file to write; one that is there is replaced, and so are its weights.
    """
    import onnx

    del model.graph.value_info[:]  # what was inferred may not be so any more, and is inferred again where it is needed
    outside = sum(tensor.ByteSize() for tensor in model.graph.initializer) > MAX_GRAPH_BYTES
    data_file(path).unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=outside, location=data_file(path).name if outside else None)


def pack(graph: Path, max_graph_bytes: int) -> Path | None:
    """Put the weights of a graph where they belong: into its one file, or all into one beside it.

    Args:
        graph: An ONNX file.
        max_graph_bytes: A graph that is larger keeps its weights in a file of their own.

    Returns:
        The file of the weights, if there is one.
    """
    import onnx

    model = onnx.load(graph, load_external_data=False)
    tensors = list(onnx.external_data_helper._get_all_tensors(model))  # noqa: SLF001 - it alone looks everywhere
    places = {
        entry.value
        for tensor in tensors
        if onnx.external_data_helper.uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files = [graph.with_name(place) for place in places]
    outside = sum(path.stat().st_size for path in (graph, *files)) > max_graph_bytes
    data = data_file(graph)
    if places != ({data.name} if outside else set()):
        onnx.external_data_helper.load_external_data_for_model(model, str(graph.parent))
        for path in files:
            path.unlink()
        onnx.save(model, graph, save_as_external_data=outside, location=data.name if outside else None)
    if outside:
        data.chmod(graph.stat().st_mode)  # onnx writes it for its owner alone
    return data if outside else None


def data_file(graph: Path) -> Path:
    """Return the file of a graph's weights, as transformers.js and the Hub name it."""
    return graph.with_name(f"{graph.name}_data")
