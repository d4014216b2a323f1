"""The products of a graph with constant matrices, by their input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import Graph
from torchless_export.graph.onnx_files import load_graph

__all__ = ["Linear", "Product", "find_linears", "load_products"]

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


def load_products(path: Path) -> Graph:
    """Load a graph whose products with constants are all `MatMul`s that read their constants directly.

    Args:
        path: An ONNX file.
    """
    graph = Graph(load_graph(path))
    graph.drop_copies()
    graph.split_gemms()
    graph.fold_transposes()
    return graph


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
