"""q8: weights and the products with them in 8-bit integers, with answers that do not depend on the batch.

ONNX Runtime's dynamic quantisation uses the same scale for a whole batch: a single large value coarsens all rows, and an
answer depends on the other rows. Here, calibration chooses between two quantizers for the input of a matrix:

- *by channel*: calibration fixes a range for each channel; the range's scale and centre are folded into the weights and the
  bias. It is cheaper, and suits the output of a layer normalisation.
- *by row*: the scale of a row is its largest value. It suits outliers in a few rows.

Both can exclude a few channels whose outliers would coarsen the rest, and multiply them in float32.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import MICROSOFT, Graph
from torchless_export.graph.onnx_files import save_graph
from torchless_export.quantization.embeddings import quantize_embeddings
from torchless_export.quantization.linears import Linear, Product, find_linears, load_products
from torchless_export.quantization.q8.folding import fold_channels
from torchless_export.quantization.q8.quantizers import ByChannel, ByRow, Floats, Quantizer, without_outlier_channels
from torchless_export.quantization.recording import Rows
from torchless_export.quantization.rounding import round_columns

__all__ = ["quantize"]

_MAX_OUTLIERS = 16
_CHANNELS_AN_OUTLIER = 16
# A slower quantizer has to reduce the error, compared with the plain one by channel, by the factor of its cost: channels in
# float32 need a small product and a sum; scales by row need passes over the input, and a pass over the output.
_COST_OF_OUTLIERS = 1.3
_COST_OF_ROWS = 1.6
_MAX_MEASURED_ROWS = 1024


def quantize(source: Path, target: Path, rows: Rows) -> None:
    """Write the q8 variant of a graph.

    Args:
        source: The fp32 graph.
        target: The file to write.
        rows: Calibration rows of the inputs of its products.
    """
    graph = load_products(source)
    new: dict[int, list[Any]] = {}
    removed: set[int] = set()
    for linear in find_linears(graph):
        inputs = rows[linear.input]
        if len(inputs) <= rows.runs:
            continue  # it runs once per text, not per token: int8 gains nothing
        nodes = [node for product in linear.products for node in product.nodes]
        new[id(nodes[0])] = list(_write_linear(graph, linear, inputs))
        removed.update(id(node) for node in nodes[1:])
    graph.nodes = [item for node in graph.nodes if id(node) not in removed for item in new.get(id(node), [node])]
    quantize_embeddings(graph)
    fold_channels(graph)
    save_graph(graph.model(domains=[MICROSOFT]), target)


def _choose(rows: Floats, weights: Floats) -> Quantizer:
    """Return the best quantizer for an input. Half of the rows fit the candidates, the other half measures their error."""
    fitted, measured = rows[::2], rows[1::2][:_MAX_MEASURED_ROWS]
    exact = measured @ weights
    all_channels = np.ones(len(weights), np.bool_)
    without_outliers = without_outlier_channels(
        fitted, weights, min(_MAX_OUTLIERS, len(weights) // _CHANNELS_AN_OUTLIER)
    )
    candidates: list[tuple[float, Quantizer]] = []
    for cost, kept in ((1.0, all_channels), (_COST_OF_OUTLIERS, without_outliers)):
        candidates.append((cost, ByChannel.fit(fitted, weights, kept)))
        candidates.append((cost * _COST_OF_ROWS, ByRow.fit(fitted, kept)))
    _, best = min(
        candidates, key=lambda item: item[0] * float(np.linalg.norm(item[1].product(measured, weights) - exact))
    )
    return ByRow.fit(rows, best.kept) if best.scaled_rows else ByChannel.fit(rows, weights, best.kept)


def _write_linear(graph: Graph, linear: Linear, rows: Floats) -> Iterator[Any]:
    """Yield the nodes that replace the products with an input."""
    name, weights = linear.input, linear.weights(graph)
    quantizer = _choose(rows, weights)
    scale = graph.constant(f"{name}.q8.scale", np.array(quantizer.scale, np.float32))
    zero_point = graph.constant(f"{name}.q8.zero_point", np.array(quantizer.zero_point, np.uint8))
    yield from quantizer.write(graph, name)
    yield graph.node("QuantizeLinear", [f"{name}.q8.inputs", scale, zero_point], f"{name}.q8")
    if not quantizer.kept.all():
        excluded = graph.constant(f"{name}.q8.channels", np.flatnonzero(~quantizer.kept).astype(np.int64))
        yield graph.node("Gather", [name, excluded], f"{name}.q8.outliers", axis=-1)
    integers, scales = round_columns(quantizer.weights(weights), quantizer.inputs(rows))
    for product, *parts in zip(
        linear.products,
        *(
            linear.split(graph, item)
            for item in (integers, scales, quantizer.constant(weights), weights[~quantizer.kept])
        ),
        strict=True,
    ):
        yield from _write_product(graph, linear, product, quantizer, *parts)


def _write_product(
    graph: Graph,
    linear: Linear,
    product: Product,
    quantizer: Quantizer,
    integers: NDArray[np.int8],
    scales: Floats,
    constant: Floats,
    exact: Floats,
) -> Iterator[Any]:
    """Yield the nodes that replace a product and the addition of its bias."""
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
    if quantizer.scaled_rows:
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
    for (operator, operand), before, after in zip(steps, names, names[1:], strict=False):
        yield graph.node(operator, [before, operand], after)
