"""q8: weights and the products with them in 8-bit integers, each row of a batch by itself.

ONNX Runtime's dynamic quantisation gives a whole batch one scale: a single large value coarsens every row, and an answer
depends on its neighbours. Here the input of a matrix is quantised in one of two ways, whichever calibration texts ask for:

- *by channel*: each channel has a range of its own, fixed by calibration; its scale and centre are folded into the weights
  and the bias. That is the cheaper one, and fits what a layer normalisation gives.
- *by row*: each row has the scale of its own largest value. That fits outliers that only a few rows have.

In either way a few channels may be left out, and multiplied in float32: those whose outliers would coarsen the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless_export.graph.ir import MICROSOFT, Graph
from torchless_export.quantization.q8.embeddings import quantize_embeddings
from torchless_export.quantization.q8.folding import fold_channels
from torchless_export.quantization.q8.quantizers import ByChannel, ByRow, Floats, Quantizer, outliers
from torchless_export.quantization.q8.recording import record
from torchless_export.quantization.q8.rounding import round_columns

__all__ = ["quantize"]

_MAX_OUTLIERS = 16
_CHANNELS_AN_OUTLIER = 16
# What a way costs, as the factor by which its error has to be less than that of the plain way by channel: channels in
# float32 cost a small product and a sum; by row costs passes over the input, and one over the output.
_PRICE_OF_OUTLIERS = 1.3
_PRICE_OF_ROWS = 1.6
_MAX_SAMPLE_ROWS = 8192
_MAX_SAMPLE_BYTES = 1 << 31
_MAX_JUDGED_ROWS = 1024
_MIN_WIDTH = 16


@dataclass(frozen=True, slots=True)
class _Product:
    """A product with a constant matrix, and the bias that is added.

    Attributes:
        nodes: The nodes that compute it.
        matrix: The constant's name, (channels, outputs).
        bias: The bias's name, (outputs,); empty if there is none.
        sum: The name of the outcome.
    """

    nodes: tuple[Any, ...]
    matrix: str
    bias: str
    sum: str


@dataclass(frozen=True, slots=True)
class _Linear:
    """An input, and the products with it."""

    input: str
    products: tuple[_Product, ...]

    def weights(self, graph: Graph) -> Floats:
        """Return all matrices side by side, (channels, outputs)."""
        return np.concatenate([graph.constants[product.matrix] for product in self.products], axis=1)

    def split(self, graph: Graph, outputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return what belongs to each product of something with the outputs of all on its last axis."""
        widths = [graph.constants.shape(product.matrix)[1] for product in self.products]
        return np.split(outputs, np.cumsum(widths)[:-1], axis=-1)


def quantize(source: Path, target: Path, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Write the q8 variant of a graph.

    Args:
        source: The fp32 graph.
        target: The file to write.
        feeds: What the graph is given for typical texts, by name, one text a feed.
    """
    graph = Graph(onnx.load(source))
    graph.split_gemms()
    graph.fold_transposes()
    new: dict[int, list[Any]] = {}
    gone: set[int] = set()
    for linears in _portions(graph, list(_linears(graph))):
        seen = record(source, [linear.input for linear in linears], feeds, max_rows=_MAX_SAMPLE_ROWS)
        for linear in linears:
            rows = seen[linear.input]
            if len(rows) <= len(feeds):
                continue  # it works once a text, not once a token: there is nothing to gain
            nodes = [node for product in linear.products for node in product.nodes]
            new[id(nodes[0])] = list(_write_linear(graph, linear, rows))
            gone.update(id(node) for node in nodes[1:])
    graph.nodes = [item for node in graph.nodes if id(node) not in gone for item in new.get(id(node), [node])]
    quantize_embeddings(graph)
    fold_channels(graph)
    onnx.save(graph.model(domains=[MICROSOFT]), target)


def _linears(graph: Graph) -> Iterator[_Linear]:
    """Yield the inputs that are multiplied by constant matrices."""
    consumers = graph.consumers()
    by_input: dict[str, list[_Product]] = {}
    for node in graph.nodes:
        if node.op_type != "MatMul" or node.input[1] not in graph.constants:
            continue
        shape = graph.constants.shape(node.input[1])
        if len(shape) != 2 or min(shape) < _MIN_WIDTH:
            continue
        by_input.setdefault(node.input[0], []).append(_with_bias(graph, node, consumers))
    return (_Linear(name, tuple(products)) for name, products in by_input.items())


def _with_bias(graph: Graph, node: Any, consumers: Mapping[str, Sequence[Any]]) -> _Product:
    product, matrix = node.output[0], node.input[1]
    match consumers.get(product, []):
        case [add] if add.op_type == "Add":
            other = next((name for name in add.input if name != product), "")
            if other in graph.constants and graph.constants.shape(other) == graph.constants.shape(matrix)[1:]:
                return _Product((node, add), matrix, other, add.output[0])
    return _Product((node,), matrix, "", product)


def _portions(graph: Graph, linears: Sequence[_Linear]) -> Iterator[list[_Linear]]:
    """Yield as many linears at a time as can be recorded without filling the memory."""
    portion: list[_Linear] = []
    size_bytes = 0
    for linear in linears:
        each = 4 * _MAX_SAMPLE_ROWS * graph.constants.shape(linear.products[0].matrix)[0]
        if portion and size_bytes + each > _MAX_SAMPLE_BYTES:
            yield portion
            portion, size_bytes = [], 0
        portion.append(linear)
        size_bytes += each
    if portion:
        yield portion


def _choose(rows: Floats, weights: Floats) -> Quantizer:
    """Return how to quantise an input: fitted to half of the rows, and judged by the products of the other half."""
    fitted, judged = rows[::2], rows[1::2][:_MAX_JUDGED_ROWS]
    exact = judged @ weights
    all_channels = np.ones(len(weights), np.bool_)
    most = outliers(fitted, weights, min(_MAX_OUTLIERS, len(weights) // _CHANNELS_AN_OUTLIER))
    ways: list[tuple[float, Quantizer]] = []
    for cost, kept in ((1.0, all_channels), (_PRICE_OF_OUTLIERS, most)):
        ways.append((cost, ByChannel.fit(fitted, weights, kept)))
        ways.append((cost * _PRICE_OF_ROWS, ByRow.fit(fitted, kept)))
    _, best = min(ways, key=lambda way: way[0] * float(np.linalg.norm(way[1].multiplied(judged, weights) - exact)))
    return ByRow.fit(rows, best.kept) if best.scaled_rows else ByChannel.fit(rows, weights, best.kept)


def _write_linear(graph: Graph, linear: _Linear, rows: Floats) -> Iterator[Any]:
    """Yield the nodes that replace an input's products."""
    name, weights = linear.input, linear.weights(graph)
    way = _choose(rows, weights)
    scale = graph.constant(f"{name}.q8.scale", np.array(way.scale, np.float32))
    zero_point = graph.constant(f"{name}.q8.zero_point", np.array(way.zero_point, np.uint8))
    yield from way.write(graph, name)
    yield graph.node("QuantizeLinear", [f"{name}.q8.inputs", scale, zero_point], f"{name}.q8")
    if not way.kept.all():
        left_out = graph.constant(f"{name}.q8.channels", np.flatnonzero(~way.kept).astype(np.int64))
        yield graph.node("Gather", [name, left_out], f"{name}.q8.outliers", axis=-1)
    integers, scales = round_columns(way.weights(weights), way.inputs(rows))
    for product, *own_rows in zip(
        linear.products,
        *(linear.split(graph, item) for item in (integers, scales, way.constant(weights), weights[~way.kept])),
        strict=True,
    ):
        yield from _write_product(graph, linear, product, way, *own_rows)


def _write_product(
    graph: Graph,
    linear: _Linear,
    product: _Product,
    way: Quantizer,
    integers: NDArray[np.int8],
    scales: Floats,
    constant: Floats,
    exact: Floats,
) -> Iterator[Any]:
    """Yield the nodes that replace a product, and what is added to it."""
    name, out = linear.input, product.sum
    inputs = [
        f"{name}.q8",
        graph.constant(f"{out}.q8.weights", integers),
        f"{name}.q8.scale",
        graph.constant(f"{out}.q8.scales", scales),
        f"{name}.q8.zero_point",
    ]
    steps: list[tuple[str, str]] = []
    bias = graph.constants[product.bias] if product.bias else np.float32(0)
    if way.scaled_rows:
        steps.append(("Mul", f"{name}.q8.largest"))
        if product.bias:
            steps.append(("Add", product.bias))
    else:
        inputs += ["", graph.constant(f"{out}.q8.bias", (bias + constant).astype(np.float32))]
    if len(exact):
        matrix = graph.constant(f"{out}.q8.exact", exact)
        yield graph.node("MatMul", [f"{name}.q8.outliers", matrix], f"{out}.q8.added")
        steps.append(("Add", f"{out}.q8.added"))
    names = [*(f"{out}.q8.{index}" for index in range(len(steps))), out]
    yield graph.node("MatMulIntegerToFloat", inputs, names[0], domain=MICROSOFT)
    for (operator, other), before, after in zip(steps, names, names[1:], strict=False):
        yield graph.node(operator, [before, other], after)
