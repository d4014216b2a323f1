"""Weights of a decoder in blocks of 8-bit or 4-bit integers, rounded so that calibration texts keep their answers."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import MICROSOFT, Graph
from torchless_export.graph.onnx_files import load_graph, save_graph
from torchless_export.quantization.blocks.matrix import BlockFormat, BlockMatrix
from torchless_export.quantization.blocks.smoothing import smooth
from torchless_export.quantization.embeddings import quantize_embeddings
from torchless_export.quantization.float16 import float16_graph
from torchless_export.quantization.linears import Linear, find_linears, load_products
from torchless_export.quantization.recording import Rows

__all__ = ["quantize"]

_INT8 = 4
# Small blocks keep a large value of an input from coarsening many others, which is most of the error with 8 bits; with 4 bits,
# that of the weights is.
_8_BITS, _4_BITS = BlockFormat(8, block_size=16), BlockFormat(4, block_size=32)
_EMBEDDING_BLOCK = 32


def quantize(source: Path, target: Path, rows: Rows, *, bits: int, float16: bool = False) -> None:
    """Write a variant of a decoder whose products have weights in blocks.

    Args:
        source: The fp32 graph.
        target: The file to write.
        rows: Calibration rows of the inputs of its products.
        bits: The bits of a weight, 8 or 4. Products that are sensitive have 8.
        float16: Whether the rest of the graph is in float16; otherwise it is in float32, with 8-bit embeddings.
    """
    graph = load_products(source)
    linears = find_linears(graph)
    producers, consumers = graph.producers(), graph.consumers()  # smoothing changes constants alone
    matrices: dict[str, BlockMatrix] = {}
    # From the last product to the first: smoothing changes the matrices before an input, which must not be rounded yet.
    for linear in reversed(linears):
        form = _format(graph, linear, bits, is_head=linear is linears[-1])
        smoothed = smooth(graph, linear, rows[linear.input], producers, consumers, form=form)
        matrices |= _fit(graph, linear, smoothed, form)
    if float16:
        save_graph(graph.model(), target)
        graph = Graph(float16_graph(load_graph(target, typed=True)))
    else:
        quantize_embeddings(graph, block_size=_EMBEDDING_BLOCK)
    dtype = np.float16 if float16 else np.float32
    graph.nodes = [
        matrices[node.input[1]].write(graph, node, accuracy_level=_INT8, dtype=dtype)
        if node.op_type == "MatMul" and node.input[1] in matrices
        else node
        for node in graph.nodes
    ]
    save_graph(graph.model(domains=[MICROSOFT]), target)


def _format(graph: Graph, linear: Linear, bits: int, *, is_head: bool) -> BlockFormat:
    """Return how the weights of the products with an input are stored."""
    return _8_BITS if bits == 8 or is_head or _narrows(graph, linear) else _4_BITS


def _narrows(graph: Graph, linear: Linear) -> bool:
    """Return whether an input has more channels than its products have outputs.

    With 4 bits, no other product of a decoder errs as much as the second half of a feed-forward network: its input has a
    few large values, and its sum goes to all later layers.
    """
    shapes = [graph.constants.shape(product.matrix) for product in linear.products]
    return shapes[0][0] > sum(outputs for _, outputs in shapes)


def _fit(graph: Graph, linear: Linear, rows: NDArray[np.float32], form: BlockFormat) -> dict[str, BlockMatrix]:
    """Return the matrices that an input is multiplied by, in blocks, by their names."""
    together = BlockMatrix.fit(linear.weights(graph), rows, form)
    widths = [graph.constants.shape(product.matrix)[1] for product in linear.products]
    return {product.matrix: part for product, part in zip(linear.products, together.split(widths), strict=True)}
