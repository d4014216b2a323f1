"""q8: weights and the products with them in 8-bit integers, each row of a batch by itself.

ONNX Runtime's dynamic quantisation gives a whole batch one scale: a single large value coarsens every row, and an answer
depends on its neighbours. Here the input of a matrix is quantised in one of two ways, whichever calibration texts ask for:

- *by channel*: each channel has a range of its own, fixed by calibration; its scale and centre are folded into the weights
  and the bias. That is the cheaper one, and fits what a layer normalisation gives.
- *by row*: each row has the scale of its own largest value. That fits outliers that only a few rows have, as in the middle
  of a feed-forward network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph import MICROSOFT, Graph
from torchless_export.recording import record
from torchless_export.rounding import round_columns, rounded

__all__ = ["quantise"]

Floats: TypeAlias = NDArray[Any]  # of float32

# How much of a channel's range goes into the weights: with 1 all channels would share one range, and the weights theirs.
_SMOOTHING = 0.9
# How much wider than calibration saw it a channel's range is taken: other texts go further.
_MARGIN = 1.1
# By row costs passes over the input, and one over the output; this much less error pays for them.
_WORTH_A_SCALE_A_ROW = 0.6
_MAX_SAMPLE_ROWS = 8192
_MAX_SAMPLE_BYTES = 1 << 31
_MAX_JUDGED_ROWS = 1024
_MIN_WIDTH = 16
_MIN_EMBEDDINGS = 1000
_SMALLEST = 1e-12


@dataclass(frozen=True, slots=True)
class _ByChannel:
    """A scale and a centre a channel, both (channels,)."""

    scale: Floats
    centre: Floats

    @classmethod
    def fit(cls, rows: Floats, weights: Floats) -> "_ByChannel":
        """Fit to calibration rows, (rows, channels), and what multiplies them, (channels, outputs)."""
        low, high = rows.min(axis=0), rows.max(axis=0)
        half = np.maximum((high - low) / 2 * _MARGIN, 1e-5)
        heaviest = np.maximum(np.abs(weights).max(axis=1), 1e-5)
        scale = half**_SMOOTHING / heaviest ** (1 - _SMOOTHING)
        scale *= (half / scale).max() / 127
        return cls(scale.astype(np.float32), ((high + low) / 2).astype(np.float32))

    def normalised(self, rows: Floats) -> Floats:
        """Return rows in the units of their channels' scales."""
        return np.asarray((rows - self.centre) / self.scale, np.float32)

    def multiplied(self, rows: Floats, weights: Floats) -> Floats:
        """Return about what the product with rows becomes, (rows, outputs)."""
        integers = np.clip(np.rint(self.normalised(rows)), -128, 127)
        return np.asarray(integers @ rounded(weights * self.scale[:, None]) + self.centre @ weights)

    def write(self, graph: Graph, linear: "_Linear", rows: Floats) -> Iterator[Any]:
        """Yield the nodes that replace a linear's products."""
        name = linear.input
        factor = graph.constant(f"{name}.q8.factor", 1 / self.scale)
        offset = graph.constant(f"{name}.q8.offset", -self.centre / self.scale)
        one = graph.constant(f"{name}.q8.scale", np.array(1, np.float32))
        zero_point = graph.constant(f"{name}.q8.zero_point", np.array(128, np.uint8))
        yield graph.node("Mul", [name, factor], f"{name}.q8.scaled")
        yield graph.node("Add", [f"{name}.q8.scaled", offset], f"{name}.q8.centred")
        yield graph.node("QuantizeLinear", [f"{name}.q8.centred", one, zero_point], f"{name}.q8")
        weights = linear.weights(graph)
        for product, integers, scales, centre in zip(
            linear.products,
            *linear.rounded(graph, weights * self.scale[:, None], self.normalised(rows)),
            linear.split(graph, self.centre @ weights),
            strict=True,
        ):
            bias = centre + (graph.constants[product.bias] if product.bias else 0)
            yield graph.node(
                "MatMulIntegerToFloat",
                [
                    f"{name}.q8",
                    graph.constant(f"{product.sum}.q8.weights", integers),
                    one,
                    graph.constant(f"{product.sum}.q8.scales", scales),
                    zero_point,
                    "",
                    graph.constant(f"{product.sum}.q8.bias", bias.astype(np.float32)),
                ],
                product.sum,
                domain=MICROSOFT,
            )


@dataclass(frozen=True, slots=True)
class _ByRow:
    """The largest value of each row as its scale, but no smaller than `floor`.

    Attributes:
        zero_point: The integer of 0; the less there is below 0, the smaller.
        floor: The least scale with which nothing below 0 is cut off that calibration saw; 0 if both sides are scaled.
    """

    zero_point: int
    floor: float

    @classmethod
    def fit(cls, rows: Floats) -> "_ByRow":
        """Fit to calibration rows, (rows, channels)."""
        lowest, largest = -float(rows.min()), rows.max(axis=1)
        both_sides = cls(128, 0)
        if lowest * 4 > largest.max():
            return both_sides
        one_sided = [
            cls(zero, lowest * _MARGIN * (255 - zero) / max(zero, 1)) for zero in (0, 8, 12, 16, 24, 32, 48, 64)
        ]
        possible = [one for one in one_sided if one.zero_point or lowest <= 0]
        return min((both_sides, *possible), key=lambda one: float(np.square(one.step(rows)).mean()))

    def largest(self, rows: Floats) -> Floats:
        """Return the scale of each row, (rows, 1)."""
        values = rows if self.floor or self.zero_point == 0 else np.abs(rows)
        return np.asarray(np.maximum(values.max(axis=1, keepdims=True), max(self.floor, _SMALLEST)))

    def step(self, rows: Floats) -> Floats:
        """Return how far apart the values are that each row can have, (rows, 1)."""
        return self.largest(rows) / (255 - self.zero_point)

    def multiplied(self, rows: Floats, weights: Floats) -> Floats:
        """Return about what the product with rows becomes, (rows, outputs)."""
        step = self.step(rows)
        integers = np.clip(np.rint(rows / step), -self.zero_point, 255 - self.zero_point)
        return np.asarray(integers * step @ rounded(weights))

    def write(self, graph: Graph, linear: "_Linear", rows: Floats) -> Iterator[Any]:
        """Yield the nodes that replace a linear's products."""
        name = linear.input
        scale = graph.constant(f"{name}.q8.scale", np.array(1 / (255 - self.zero_point), np.float32))
        zero_point = graph.constant(f"{name}.q8.zero_point", np.array(self.zero_point, np.uint8))
        floor = graph.constant(f"{name}.q8.floor", np.array(max(self.floor, _SMALLEST), np.float32))
        values = name
        if not self.floor and self.zero_point:
            values = f"{name}.q8.magnitude"
            yield graph.node("Abs", [name], values)
        yield graph.reduce_max(values, f"{name}.q8.maximum")
        yield graph.node("Max", [f"{name}.q8.maximum", floor], f"{name}.q8.largest")
        yield graph.node("Div", [name, f"{name}.q8.largest"], f"{name}.q8.normalised")
        yield graph.node("QuantizeLinear", [f"{name}.q8.normalised", scale, zero_point], f"{name}.q8")
        for product, integers, scales in zip(
            linear.products, *linear.rounded(graph, linear.weights(graph), rows), strict=True
        ):
            yield graph.node(
                "MatMulIntegerToFloat",
                [
                    f"{name}.q8",
                    graph.constant(f"{product.sum}.q8.weights", integers),
                    scale,
                    graph.constant(f"{product.sum}.q8.scales", scales),
                    zero_point,
                ],
                f"{product.sum}.q8.normalised",
                domain=MICROSOFT,
            )
            scaled = f"{product.sum}.q8.product" if product.bias else product.sum
            yield graph.node("Mul", [f"{product.sum}.q8.normalised", f"{name}.q8.largest"], scaled)
            if product.bias:
                yield graph.node("Add", [scaled, product.bias], product.sum)


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

    def rounded(
        self, graph: Graph, weights: Floats, rows: Floats
    ) -> tuple[list[NDArray[np.int8]], list[NDArray[np.float32]]]:
        """Return the integers, and the scales of their columns, for each product."""
        integers, scales = round_columns(weights, rows)
        return self.split(graph, integers), self.split(graph, scales)


def quantise(source: Path, target: Path, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Write the q8 variant of a graph.

    Args:
        source: The fp32 graph.
        target: The file to write.
        feeds: What the graph is given for typical texts, by name, one text a feed.
    """
    graph = Graph(source)
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
            new[id(nodes[0])] = list(_choose(graph, linear, rows).write(graph, linear, rows))
            gone.update(id(node) for node in nodes[1:])
    for node, table in _embeddings(graph):
        new[id(node)] = list(_write_embedding(graph, node, table))
    graph.nodes = [one for node in graph.nodes if id(node) not in gone for one in new.get(id(node), [node])]
    graph.save(target, domains=[MICROSOFT])


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
            (other,) = (name for name in add.input if name != product) if add.input[0] != add.input[1] else ("",)
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


def _choose(graph: Graph, linear: _Linear, rows: Floats) -> _ByChannel | _ByRow:
    """Return how to quantise an input: fitted to half of the rows, and judged by the products of the other half."""
    weights = linear.weights(graph)
    fitted, judged = rows[::2], rows[1::2][:_MAX_JUDGED_ROWS]
    exact = judged @ weights
    by_row, by_channel = _ByRow.fit(fitted), _ByChannel.fit(fitted, weights)
    error_by_row, error_by_channel = (
        float(np.linalg.norm(way.multiplied(judged, weights) - exact)) for way in (by_row, by_channel)
    )
    if error_by_row < _WORTH_A_SCALE_A_ROW * error_by_channel:
        return _ByRow.fit(rows)
    return _ByChannel.fit(rows, weights)


def _embeddings(graph: Graph) -> Iterator[tuple[Any, str]]:
    """Yield the nodes that look tokens up, and their tables."""
    for node in graph.nodes:
        if node.op_type == "Gather" and node.input[0] in graph.constants:
            shape = graph.constants.shape(node.input[0])
            if len(shape) == 2 and shape[0] >= _MIN_EMBEDDINGS and shape[1] >= _MIN_WIDTH:
                yield node, node.input[0]


def _write_embedding(graph: Graph, node: Any, table: str) -> Iterator[Any]:
    """Yield the nodes that look up integers, and the scale of each token's own row."""
    values, tokens, out = graph.constants[table], node.input[1], node.output[0]
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, np.float32(_SMALLEST))
    integers = graph.constant(f"{out}.q8.table", np.rint(values / scales).astype(np.int8))
    yield graph.node("Gather", [integers, tokens], f"{out}.q8")
    yield graph.node("Gather", [graph.constant(f"{out}.q8.scales", scales), tokens], f"{out}.q8.scale")
    yield graph.cast_to_float(f"{out}.q8", f"{out}.q8.whole")
    yield graph.node("Mul", [f"{out}.q8.whole", f"{out}.q8.scale"], out)
