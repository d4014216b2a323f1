"""A head that reads the first token alone: of the last layer, the others are needed as keys and values only.

What a classifier's last layer computes of the other tokens, its queries, its sums and its whole feed-forward part, the head
throws away. Here it is not computed at all: most of one layer in six or twelve, for the same answer.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from torchless_export.graph.ir import Graph, attribute, taken_by_branches
from torchless_export.graph.shapes import Shape, known_shapes

__all__ = ["prune_to_first_token", "with_all_tokens"]

Needs: TypeAlias = Mapping[str, int | None]
"""What a node takes, by name: the axis along which it needs the first alone, or None where it needs all."""

_LOG = logging.getLogger(__name__)
# One more than is needed: ONNX Runtime has a kernel for products of a single row, whose sums depend on the padding.
_KEPT = 2
_END = "first_token.end"
_ELEMENTWISE = {
    *(
        "Add",
        "Cast",
        "Clip",
        "Div",
        "Elu",
        "Erf",
        "Gelu",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Max",
        "Min",
        "Mul",
        "Pow",
    ),
    *("Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "Where"),
}


def prune_to_first_token(path: Path) -> None:
    """Compute of the last layer only what a head that takes the first token needs.

    The answers differ from what they were by rounding at most: a product of fewer rows may be summed in another order.

    Args:
        path: An ONNX file whose shapes are fixed; it is replaced if its head is such a one. Weights outside of it are not
            read.
    """
    model = onnx.load(path, load_external_data=False)
    graph = Graph(model)
    needs = _narrow_nodes(graph, known_shapes(model) | {item.name: list(item.dims) for item in model.graph.initializer})
    if not any(node.op_type == "MatMul" and node.output[0] in needs for node in graph.nodes):
        return
    _cut(graph, needs)
    onnx.save(graph.model(), path)
    _LOG.info("%s: %d nodes compute the first token alone.", path.name, len(needs))


def with_all_tokens(model: Any) -> Any:
    """Return a graph that computes of every token what `prune_to_first_token` took away: calibration has more to go by.

    Args:
        model: An ONNX model; it is changed.
    """
    for tensor in model.graph.initializer:
        if tensor.name == _END:
            tensor.CopyFrom(numpy_helper.from_array(np.array([np.iinfo(np.int64).max]), _END))
    return model


def _narrow_nodes(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Needs]:
    """Go back from the head as far as the first token is all that is needed.

    Returns:
        By the output of each node that can do with it, what that node needs.
    """
    needs: dict[str, Needs] = {}
    consumers = graph.consumers()
    whole = graph.outputs.union(*map(taken_by_branches, graph.nodes))
    for node in reversed(graph.nodes):
        output = node.output[0]
        if output in whole or len(node.output) > 1:
            continue
        needed = {_needed_size(output, consumer, graph, needs) for consumer in consumers.get(output, ())}
        axis = needed.pop() if len(needed) == 1 else None
        found = None if axis is None else _needs(node, axis, graph, shapes)
        if found is not None:
            needs[output] = found
    return needs


def _needed_size(value: str, consumer: Any, graph: Graph, needs: Mapping[str, Needs]) -> int | None:
    """Return the axis along which a node needs the first of a value alone, or None."""
    if consumer.output[0] in needs:
        return needs[consumer.output[0]][value]
    first = consumer.op_type == "Gather" and value == consumer.input[0] and consumer.input[1] in graph.constants
    if first and graph.constants.shape(consumer.input[1]) == () and graph.constants[consumer.input[1]] == 0:
        return int(attribute(consumer, "axis") or 0)
    return None


def _needs(node: Any, axis: int, graph: Graph, shapes: Mapping[str, Shape]) -> Needs | None:
    """Return what a node needs for the first of its output along an axis; None where that is not known."""
    names = [name for name in node.input if name]
    if not names or not all(name in shapes for name in (*names, node.output[0])):
        return None
    rank = len(shapes[node.output[0]])
    if node.op_type in _ELEMENTWISE:
        return _of_operands(names, axis - rank, graph, shapes)
    first, *others = names
    along: int | None = None
    match node.op_type:
        case "LayerNormalization" | "LogSoftmax" | "Softmax":
            along = axis if attribute(node, "axis") in {None, -1, rank - 1} and axis < rank - 1 else None
        case "MatMul":
            rows = axis == rank - 2 or (axis < rank - 2 and len(shapes[others[0]]) == 2)
            along = axis if rows and len(shapes[first]) == rank and others != [first] else None
        case "Transpose":
            order = attribute(node, "perm")
            along = order[axis] if order else None
        case "Reshape":  # where 0 leaves an axis as it was
            kept = others[0] in graph.constants and not graph.constants[others[0]][: axis + 1].any()
            along = axis if kept and not attribute(node, "allowzero") else None
    return None if along is None else dict.fromkeys(others) | {first: along}


def _of_operands(names: Sequence[str], axis: int, graph: Graph, shapes: Mapping[str, Shape]) -> Needs | None:
    """Return what an elementwise node needs, whose operands meet at the last axis; `axis` counts from there."""
    found: dict[str, int | None] = {}
    for name in names:
        shape = shapes[name]
        there = len(shape) + axis
        broadcast = there < 0 or shape[there] == 1
        if not broadcast and name in graph.constants:
            return None
        found[name] = None if broadcast else there
    return found


def _cut(graph: Graph, needs: Mapping[str, Needs]) -> None:
    """Cut what narrow nodes take of nodes that give all."""
    bounds = [graph.constant("first_token.start", np.array([0])), graph.constant(_END, np.array([_KEPT]))]
    cuts: dict[str, Any] = {}
    for node in graph.nodes:
        needs_of_node = needs.get(node.output[0], {})
        for index, name in enumerate(node.input):
            axis = needs_of_node.get(name)
            if axis is None or name in needs:
                continue
            cut = f"{name}.first_{axis}"
            if cut not in cuts:
                axes = graph.constant(f"{cut}.axes", np.array([axis]))
                cuts[cut] = graph.node("Slice", [name, *bounds, axes], cut)
            node.input[index] = cut
    given = {output for node in graph.nodes for output in node.output}
    ordered = [cut for cut in cuts.values() if cut.input[0] not in given]
    for node in graph.nodes:
        ordered += [node, *(cut for cut in cuts.values() if cut.input[0] in node.output)]
    graph.nodes = ordered
