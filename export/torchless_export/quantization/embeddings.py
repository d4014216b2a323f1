"""Embeddings in 8-bit integers, with a scale for each token, or for each block of a token."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import TensorProto

from torchless_export.graph.ir import Graph

__all__ = ["quantize_embeddings"]

_MIN_TOKENS = 1000
_MIN_WIDTH = 16
_SMALLEST = 1e-12


def quantize_embeddings(graph: Graph, *, block_size: int | None = None) -> None:
    """Store embeddings as integers, and scale the rows that are looked up.

    Args:
        graph: A graph; it is changed. Small tables, as of positions or segments, stay as they are.
        block_size: The number of a token's channels that share a scale; None for all of them.
    """
    graph.nodes = [
        item
        for node in graph.nodes
        for item in (_lookup(graph, node, block_size) if _is_large(graph, node) else [node])
    ]


def _is_large(graph: Graph, node: Any) -> bool:
    """Return whether a node looks up rows of a large table."""
    if node.op_type != "Gather" or node.input[0] not in graph.constants:
        return False
    shape = graph.constants.shape(node.input[0])
    return len(shape) == 2 and shape[0] >= _MIN_TOKENS and shape[1] >= _MIN_WIDTH


def _lookup(graph: Graph, node: Any, block_size: int | None) -> Iterator[Any]:
    """Yield the nodes that replace a lookup."""
    table, tokens = node.input
    values, out = graph.constants[table], node.output[0]
    width = values.shape[1]
    block = width if block_size is None or width % block_size else block_size
    if block < width:
        values = values.reshape(len(values), -1, block)  # (tokens, blocks, channels)
    scales = np.maximum(np.abs(values).max(axis=-1, keepdims=True) / 127, np.float32(_SMALLEST))
    integers = graph.constant(f"{out}.q8.table", np.rint(values / scales).astype(np.int8))
    yield graph.node("Gather", [integers, tokens], f"{out}.q8")
    yield graph.node("Gather", [graph.constant(f"{out}.q8.scales", scales), tokens], f"{out}.q8.scale")
    yield graph.node("Cast", [f"{out}.q8"], f"{out}.q8.whole", to=TensorProto.FLOAT)
    scaled = f"{out}.q8.scaled" if block < width else out
    yield graph.node("Mul", [f"{out}.q8.whole", f"{out}.q8.scale"], scaled)
    if block < width:
        shape = graph.constant(f"{out}.q8.shape", np.array([0, 0, width], np.int64))
        yield graph.node("Reshape", [scaled, shape], out)
