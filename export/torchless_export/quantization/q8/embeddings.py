"""Embeddings in 8-bit integers, with a scale for each token."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import TensorProto

from torchless_export.graph.ir import Graph
from torchless_export.quantization.q8.quantizers import SMALLEST

__all__ = ["quantize_embeddings"]

_MIN_TOKENS = 1000
_MIN_WIDTH = 16


def quantize_embeddings(graph: Graph) -> None:
    """Store embeddings as integers, and scale the rows that are looked up.

    Args:
        graph: A graph; it is changed. Small tables, as of positions or segments, stay as they are.
    """
    graph.nodes = [
        item for node in graph.nodes for item in (_lookup(graph, node) if _is_large(graph, node) else [node])
    ]


def _is_large(graph: Graph, node: Any) -> bool:
    """Return whether a node looks up rows of a large table."""
    if node.op_type != "Gather" or node.input[0] not in graph.constants:
        return False
    shape = graph.constants.shape(node.input[0])
    return len(shape) == 2 and shape[0] >= _MIN_TOKENS and shape[1] >= _MIN_WIDTH


def _lookup(graph: Graph, node: Any) -> Iterator[Any]:
    """Yield the nodes that replace a lookup."""
    table, tokens = node.input
    values, out = graph.constants[table], node.output[0]
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.float32(SMALLEST))
    integers = graph.constant(f"{out}.q8.table", np.rint(values / scales).astype(np.int8))
    yield graph.node("Gather", [integers, tokens], f"{out}.q8")
    yield graph.node("Gather", [graph.constant(f"{out}.q8.scales", scales), tokens], f"{out}.q8.scale")
    yield graph.node("Cast", [f"{out}.q8"], f"{out}.q8.whole", to=TensorProto.FLOAT)
    yield graph.node("Mul", [f"{out}.q8.whole", f"{out}.q8.scale"], out)
