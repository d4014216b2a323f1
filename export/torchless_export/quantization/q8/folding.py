"""The factor and the offset of each channel of what attention averages, folded into the product that gives its values.

Each row of probabilities sums to 1, so that P (V f + o) = (P V) f + o; and the product that gives V has a scale and a bias a
column already.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torchless_export.graph.ir import Graph, attribute
from torchless_export.quantization.q8.quantizers import Floats

__all__ = ["fold_channels"]

_HEADS_FIRST = [0, 2, 1, 3]


def fold_channels(graph: Graph) -> None:
    """Fold what scales and shifts the channels of attention's outcome before they are quantised.

    Args:
        graph: A graph whose products are quantised; it is changed.
    """
    producers = {output: node for node in graph.nodes for output in node.output}
    consumers = graph.consumers()
    gone: set[int] = set()
    for node in graph.nodes:
        chain = _before(node.input[0], producers, "Add", "Mul") if node.op_type == "QuantizeLinear" else []
        if not chain or not all(item.input[1] in graph.constants for item in chain):
            continue
        shift, scale = chain
        product = _values(scale.input[0], graph, producers, consumers)
        if product is not None:
            _scale_columns(product, graph, graph.constants[scale.input[1]], graph.constants[shift.input[1]])
            node.input[0] = scale.input[0]
            gone.update((id(scale), id(shift)))
    graph.nodes = [node for node in graph.nodes if id(node) not in gone]


def _before(name: str, producers: Mapping[str, Any], *op_types: str) -> list[Any]:
    """Return the nodes that lead to a value, the last first, if they are these; else none."""
    found = []
    for op_type in op_types:
        node = producers.get(name)
        if node is None or node.op_type != op_type:
            return []
        found.append(node)
        name = node.input[0]
    return found


def _values(name: str, graph: Graph, producers: Mapping[str, Any], consumers: Mapping[str, Sequence[Any]]) -> Any:
    """Return the product that gives the values which attention averages, if it serves for nothing else."""
    after = _before(name, producers, "Reshape", "Transpose", "MatMul", "Softmax")
    before = _before(after[2].input[1], producers, "Transpose", "Reshape", "MatMulIntegerToFloat") if after else []
    if not before:
        return None
    merge, back, average, probabilities = after
    there, split, product = before
    between = [merge, back, average, *before]
    if (
        len(product.input) == 7
        and attribute(probabilities, "axis") in {-1, 3}
        and all(len(consumers[item.output[0]]) == 1 and item.output[0] not in graph.outputs for item in between)
        and all(attribute(item, "perm") == _HEADS_FIRST for item in (there, back))
        and all(item.input[1] in graph.constants for item in (split, merge))
    ):
        heads, width = graph.constants[split.input[1]], graph.constants.shape(product.input[1])[1]
        whole = list(graph.constants[merge.input[1]])
        if len(heads) == 4 and heads[2] * heads[3] == width and whole[2:] in ([width], [-1]):
            return product
    return None


def _scale_columns(product: Any, graph: Graph, factor: Floats, offset: Floats) -> None:
    out = product.output[0]
    product.input[3] = graph.constant(f"{out}.q8.scaled_scales", graph.constants[product.input[3]] * factor)
    product.input[6] = graph.constant(f"{out}.q8.scaled_bias", graph.constants[product.input[6]] * factor + offset)
