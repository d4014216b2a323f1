"""The ranges of a product's input channels, partly moved into the weights.

x W = (x / s) (s W). A block of the input has one scale when it is rounded to integers, so a channel that is much larger than
its neighbours coarsens them. The division by s costs nothing: it is folded into the constants before the input, which are the
weights of a normalization or the columns of an earlier matrix.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.graph.ir import Graph
from torchless_export.quantization.blocks.matrix import BlockFormat, nearest_weights, round_inputs
from torchless_export.quantization.linears import Linear

__all__ = ["smooth"]

# Parts of a channel's range that may move into the weights. With 1, the ranges of all channels would be equal; with 0, those
# of the weights.
_PARTS = (0.4, 0.6, 0.8, 1.0)
_SMALLEST = 1e-5
# The error of a product is measured on so many of its rows and its columns.
_MEASURED_ROWS = 256
_MEASURED_COLUMNS = 512
_NORMALIZATIONS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})


def smooth(
    graph: Graph,
    linear: Linear,
    rows: NDArray[np.float32],
    producers: Mapping[str, Any],
    consumers: Mapping[str, Sequence[Any]],
    *,
    form: BlockFormat,
) -> NDArray[np.float32]:
    """Divide the channels of an input by scales, and multiply the weights by them.

    The scales are those with the least error after rounding. Scales of 1, which change nothing, are among those tried.

    Args:
        graph: The graph; its constants are changed.
        linear: The input and its products.
        rows: Calibration rows of the input, (rows, channels).
        producers: The node that computes each value, by the value's name.
        consumers: The nodes that use each value, by the value's name.
        form: How the weights are stored.

    Returns:
        The calibration rows of the new input; the same rows if nothing changes.

    Source: Xiao et al., "SmoothQuant", arXiv 2211.10438; the search is that of Lin et al., "AWQ", arXiv 2306.00978.
    """
    products = {id(product.nodes[0]) for product in linear.products}
    if any(id(node) not in products for node in consumers[linear.input]) or linear.input in graph.outputs:
        return rows
    constants = _constants_before(linear.input, rows.shape[1], graph, producers, consumers)
    if not constants:
        return rows
    scales = _best_scales(rows, linear.weights(graph), form)
    for name in constants:
        graph.constants.replace(name, graph.constants[name] / scales)
    for product in linear.products:
        graph.constants.replace(product.matrix, graph.constants[product.matrix] * scales[:, None])
    return np.asarray(rows / scales)


def _best_scales(rows: NDArray[np.float32], weights: NDArray[np.float32], form: BlockFormat) -> NDArray[np.float32]:
    """Return the scales with the least error of the product after rounding, (channels,).

    Args:
        rows: Calibration rows of the input, (rows, channels).
        weights: The weights that multiply them, (channels, outputs).
        form: How the weights are stored.
    """
    largest = np.maximum(np.abs(rows).max(axis=0), _SMALLEST)
    heaviest = np.maximum(np.abs(weights).max(axis=1), _SMALLEST)
    rows = rows[:: max(1, len(rows) // _MEASURED_ROWS)]
    weights = weights[:, :: max(1, weights.shape[1] // _MEASURED_COLUMNS)]
    product = rows @ weights

    def error(scales: NDArray[np.float32]) -> float:
        rounded = round_inputs(rows / scales, form) @ nearest_weights(weights * scales[:, None], form)
        return float(np.square(rounded - product).mean())

    candidates = [np.ones_like(largest), *(largest**part / heaviest ** (1 - part) for part in _PARTS)]
    return min((values / np.median(values) for values in candidates), key=error)


def _constants_before(
    value: str, width: int, graph: Graph, producers: Mapping[str, Any], consumers: Mapping[str, Sequence[Any]]
) -> list[str]:
    """Return the constants whose last axis scales a value; an empty list if there are none that only this value uses."""

    def is_own(name: str) -> bool:
        return name in graph.constants and graph.constants.shape(name)[-1:] == (width,) and len(consumers[name]) == 1

    def before(name: str) -> list[str]:
        """Return the constants before a value that no other node uses."""
        if len(consumers.get(name, ())) != 1 or name in graph.outputs:
            return []
        return _constants_before(name, width, graph, producers, consumers)

    node = producers.get(value)
    if node is None:
        return []
    match node.op_type:
        case "Mul":
            own = [name for name in node.input if is_own(name)]
            return own or next((found for name in node.input if (found := before(name))), [])
        case "Add":
            own = [name for name in node.input if is_own(name)]
            others = [name for name in node.input if name not in own]
            found = before(others[0]) if len(own) == len(others) == 1 else []
            return [*own, *found] if found else []
        case "MatMul":
            return [node.input[1]] if is_own(node.input[1]) else []
        case str() as op_type if op_type in _NORMALIZATIONS:
            weights = [name for name in node.input[1:] if name]
            return weights if all(map(is_own, weights)) else []
    return []
