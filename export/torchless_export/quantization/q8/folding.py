"""The scales and offsets of attention's output channels, folded into the product that computes the values.

Each row of probabilities sums to 1, so P (V f + o) = (P V) f + o. The product that computes V has a scale and a bias per
column already.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torchless_export.graph.ir import Graph, attribute, nodes_before

__all__ = ["fold_channels"]

_HEADS_FIRST = [0, 2, 1, 3]


def fold_channels(graph: Graph) -> None:
    """Fold the `Mul` and the `Add` that scale and shift attention's output before it is quantized.

    Args:
        graph: A graph with quantized products; it is changed.
    """
    producers, consumers = graph.producers(), graph.consumers()
    removed: set[int] = set()
    for node in graph.nodes:
        chain = nodes_before(node.input[0], producers, "Add", "Mul") if node.op_type == "QuantizeLinear" else []
        if not chain or not all(item.input[1] in graph.constants for item in chain):
            continue
        shift, scale = chain
        product = _values_product(scale.input[0], graph, producers, consumers)
        if product is None:
            continue
        out, (factor, offset) = product.output[0], (graph.constants[item.input[1]] for item in (scale, shift))
        scales, bias = (graph.constants[product.input[index]] for index in (3, 6))
        product.input[3] = graph.constant(f"{out}.q8.scaled_scales", scales * factor)
        product.input[6] = graph.constant(f"{out}.q8.scaled_bias", bias * factor + offset)
        node.input[0] = scale.input[0]
        removed.update((id(scale), id(shift)))
    graph.nodes = [node for node in graph.nodes if id(node) not in removed]


def _values_product(
    name: str, graph: Graph, producers: Mapping[str, Any], consumers: Mapping[str, Sequence[Any]]
) -> Any:
    """Return the product that computes attention's values, if nothing but this attention uses it; else None."""
    after = nodes_before(name, producers, "Reshape", "Transpose", "MatMul", "Softmax")
    before = nodes_before(after[2].input[1], producers, "Transpose", "Reshape", "MatMulIntegerToFloat") if after else []
    if not before:
        return None
    merge, transpose_back, average, softmax = after
    transpose, split, product = before
    chain = [merge, transpose_back, average, *before]
    if (
        len(product.input) == 7
        and attribute(softmax, "axis") in {-1, 3}
        and all(len(consumers[item.output[0]]) == 1 and item.output[0] not in graph.outputs for item in chain)
        and all(attribute(item, "perm") == _HEADS_FIRST for item in (transpose, transpose_back))
        and all(item.input[1] in graph.constants for item in (split, merge))
    ):
        heads, width = graph.constants[split.input[1]], graph.constants.shape(product.input[1])[1]
        merged = list(graph.constants[merge.input[1]])
        if len(heads) == 4 and heads[2] * heads[3] == width and merged[2:] in ([width], [-1]):
            return product
    return None
