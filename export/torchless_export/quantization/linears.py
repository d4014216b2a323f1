"""The products of a graph with constant matrices, by their input."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import Graph

__all__ = ["MAX_SAMPLE_ROWS", "Linear", "Product", "find_linears", "portions"]

MAX_SAMPLE_ROWS = 8192
"""About the number of recorded rows of an input."""

_MAX_SAMPLE_BYTES = 1 << 31
_MIN_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Product:
    """A product with a constant matrix, and the addition of a bias.

    Attributes:
        nodes: The nodes of the product and the addition.
        matrix: The name of the matrix, (channels, outputs).
        bias: The name of the bias, (outputs,), or an empty string.
        sum: The name of the result.
    """

    nodes: tuple[Any, ...]
    matrix: str
    bias: str
    sum: str


@dataclass(frozen=True, slots=True)
class Linear:
    """An input, and all its products with constant matrices."""

    input: str
    products: tuple[Product, ...]

    def weights(self, graph: Graph) -> NDArray[np.float32]:
        """Return the matrices, concatenated along the outputs, (channels, outputs)."""
        return np.concatenate([graph.constants[product.matrix] for product in self.products], axis=1)

    def split(self, graph: Graph, outputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Split an array, whose last axis holds the outputs of all products, into the parts of each product."""
        widths = [graph.constants.shape(product.matrix)[1] for product in self.products]
        return np.split(outputs, np.cumsum(widths)[:-1], axis=-1)


def find_linears(graph: Graph) -> list[Linear]:
    """Return the inputs of products with constant matrices."""
    consumers = graph.consumers()
    by_input: dict[str, list[Product]] = {}
    for node in graph.nodes:
        if node.op_type != "MatMul" or node.input[1] not in graph.constants:
            continue
        shape = graph.constants.shape(node.input[1])
        if len(shape) != 2 or min(shape) < _MIN_WIDTH:
            continue
        by_input.setdefault(node.input[0], []).append(_with_bias(graph, node, consumers))
    return [Linear(name, tuple(products)) for name, products in by_input.items()]


def _with_bias(graph: Graph, node: Any, consumers: Mapping[str, Sequence[Any]]) -> Product:
    product, matrix = node.output[0], node.input[1]
    match consumers.get(product, []):
        case [add] if add.op_type == "Add":
            other = next((name for name in add.input if name != product), "")
            if other in graph.constants and graph.constants.shape(other) == graph.constants.shape(matrix)[1:]:
                return Product((node, add), matrix, other, add.output[0])
    return Product((node,), matrix, "", product)


def portions(
    graph: Graph, linears: Sequence[Linear], feeds: Sequence[Mapping[str, NDArray[Any]]]
) -> Iterator[list[Linear]]:
    """Split linears into portions whose recorded inputs fit into memory.

    Args:
        graph: The graph of the linears.
        linears: The linears, in the order of the graph.
        feeds: The graph inputs of each calibration text, by name.
    """
    rows = min(MAX_SAMPLE_ROWS, sum(max(array.size for array in feed.values()) for feed in feeds))
    portion: list[Linear] = []
    size_bytes = 0
    for linear in linears:
        sample_bytes = 4 * rows * graph.constants.shape(linear.products[0].matrix)[0]
        if portion and size_bytes + sample_bytes > _MAX_SAMPLE_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(linear)
        size_bytes += sample_bytes
    if portion:
        yield portion
