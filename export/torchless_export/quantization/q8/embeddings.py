"""Tables of embeddings in 8-bit integers, each token's row with a scale of its own."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from torchless_export.graph.ir import Graph
from torchless_export.quantization.q8.quantizers import SMALLEST

__all__ = ["quantize_embeddings"]

_MIN_TOKENS = 1000
_MIN_WIDTH = 16


def quantize_embeddings(graph: Graph) -> None:
    """Look tokens up as integers, and scale what was found.

    Args:
        graph: It is changed. Small tables, as of positions or segments, stay as they are.
    """
    new = {id(node): list(_write(graph, node, table)) for node, table in _tables(graph)}
    graph.nodes = [item for node in graph.nodes for item in new.get(id(node), [node])]


def _tables(graph: Graph) -> Iterator[tuple[Any, str]]:
    """Yield the nodes that look tokens up, and their tables."""
    for node in graph.nodes:
        if node.op_type == "Gather" and node.input[0] in graph.constants:
            shape = graph.constants.shape(node.input[0])
            if len(shape) == 2 and shape[0] >= _MIN_TOKENS and shape[1] >= _MIN_WIDTH:
                yield node, node.input[0]


def _write(graph: Graph, node: Any, table: str) -> Iterator[Any]:
    values, tokens, out = graph.constants[table], node.input[1], node.output[0]
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.float32(SMALLEST))
    integers = graph.constant(f"{out}.q8.table", np.rint(values / scales).astype(np.int8))
    yield graph.node("Gather", [integers, tokens], f"{out}.q8")
    yield graph.node("Gather", [graph.constant(f"{out}.q8.scales", scales), tokens], f"{out}.q8.scale")
    yield graph.cast_to_float(f"{out}.q8", f"{out}.q8.whole")
    yield graph.node("Mul", [f"{out}.q8.whole", f"{out}.q8.scale"], out)
