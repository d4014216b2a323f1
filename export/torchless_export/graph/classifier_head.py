"""The last layer of a classifier whose head reads the first token alone.

Such a head needs the other tokens of the last layer as keys and values only. Their queries and their feed-forward part are
not computed here, which saves most of one layer out of six or twelve.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from torchless_export.graph.ir import Graph, attribute, inputs_of_branches
from torchless_export.graph.shapes import Shape, known_shapes

__all__ = ["prune_to_first_token", "with_all_tokens"]

Needs: TypeAlias = Mapping[str, int | None]
"""By the name of a node's input: the axis along which the node needs the first element only, or None for all elements."""

_LOG = logging.getLogger(__name__)
# One more than needed: ONNX Runtime has a special kernel for products of a single row, and its sums depend on the padding.
_KEPT = 2
_END = "first_token.end"
_ELEMENTWISE = (
    {"Add", "Cast", "Clip", "Div", "Elu", "Erf", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Pow"}
    | {"Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "Where"}
)  # fmt: skip


def prune_to_first_token(path: Path) -> None:
    """Remove from the last layer what a head that reads the first token does not need.

    Answers change by rounding at most: a product of fewer rows may be summed in another order.

    Args:
        path: An ONNX file with fixed shapes. It is replaced if its head reads the first token alone. Weights in a second
            file are not read.
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
    """Undo `prune_to_first_token`: calibration needs the values of all tokens.

    Args:
        model: An ONNX model; it is changed.

    Returns:
        The same model.
    """
    for tensor in model.graph.initializer:
        if tensor.name == _END:
            tensor.CopyFrom(numpy_helper.from_array(np.array([np.iinfo(np.int64).max]), _END))
    return model


def _narrow_nodes(graph: Graph, shapes: Mapping[str, Shape]) -> dict[str, Needs]:
    """Walk back from the head, as long as the first token is enough.

    Returns:
        What each narrow node needs, by the name of the node's output.
    """
    needs: dict[str, Needs] = {}
    consumers = graph.consumers()
    used_whole = graph.outputs.union(*map(inputs_of_branches, graph.nodes))
    for node in reversed(graph.nodes):
        output = node.output[0]
        if output in used_whole or len(node.output) > 1:
            continue
        axes = {_needed_axis(output, consumer, graph, needs) for consumer in consumers.get(output, ())}
        axis = axes.pop() if len(axes) == 1 else None
        found = None if axis is None else _needs(node, axis, graph, shapes)
        if found is not None:
            needs[output] = found
    return needs


def _needed_axis(value: str, consumer: Any, graph: Graph, needs: Mapping[str, Needs]) -> int | None:
    """Return the axis along which a node needs the first element of a value only, or None."""
    if consumer.output[0] in needs:
        return needs[consumer.output[0]][value]
    gathers = consumer.op_type == "Gather" and value == consumer.input[0] and consumer.input[1] in graph.constants
    if gathers and graph.constants.shape(consumer.input[1]) == () and graph.constants[consumer.input[1]] == 0:
        return int(attribute(consumer, "axis") or 0)
    return None


def _needs(node: Any, axis: int, graph: Graph, shapes: Mapping[str, Shape]) -> Needs | None:
    """Return what a node needs to compute the first element of its output along an axis; None if that is not known."""
    names = [name for name in node.input if name]
    if not names or not all(name in shapes for name in (*names, node.output[0])):
        return None
    rank = len(shapes[node.output[0]])
    if node.op_type in _ELEMENTWISE:
        return _needs_of_elementwise(names, axis - rank, graph, shapes)
    first, *rest = names
    input_axis: int | None = None
    match node.op_type:
        case "LayerNormalization" | "LogSoftmax" | "Softmax":
            input_axis = axis if attribute(node, "axis") in {None, -1, rank - 1} and axis < rank - 1 else None
        case "MatMul":
            rows = axis == rank - 2 or (axis < rank - 2 and len(shapes[rest[0]]) == 2)
            input_axis = axis if rows and len(shapes[first]) == rank and rest != [first] else None
        case "Transpose":
            order = attribute(node, "perm")
            input_axis = order[axis] if order else None
        case "Reshape":  # to a shape with 0, which keeps the input's axis, up to this axis
            kept = rest[0] in graph.constants and not graph.constants[rest[0]][: axis + 1].any()
            input_axis = axis if kept and not attribute(node, "allowzero") else None
    return None if input_axis is None else dict.fromkeys(rest) | {first: input_axis}


def _needs_of_elementwise(names: Sequence[str], axis: int, graph: Graph, shapes: Mapping[str, Shape]) -> Needs | None:
    """Return what an elementwise node needs. `axis` is negative: broadcasting aligns the last axes."""
    found: dict[str, int | None] = {}
    for name in names:
        shape = shapes[name]
        input_axis = len(shape) + axis
        broadcast = input_axis < 0 or shape[input_axis] == 1
        if not broadcast and name in graph.constants:
            return None
        found[name] = None if broadcast else input_axis
    return found


def _cut(graph: Graph, needs: Mapping[str, Needs]) -> None:
    """Insert slices where a narrow node uses the output of a node that computes all tokens."""
    bounds = [graph.constant("first_token.start", np.array([0])), graph.constant(_END, np.array([_KEPT]))]
    slices: dict[str, Any] = {}
    for node in graph.nodes:
        needs_of_node = needs.get(node.output[0], {})
        for index, name in enumerate(node.input):
            axis = needs_of_node.get(name)
            if axis is None or name in needs:
                continue
            output = f"{name}.first_{axis}"
            if output not in slices:
                axes = graph.constant(f"{output}.axes", np.array([axis]))
                slices[output] = graph.node("Slice", [name, *bounds, axes], output)
            node.input[index] = output
    computed = graph.producers()
    ordered = [item for item in slices.values() if item.input[0] not in computed]
    for node in graph.nodes:
        ordered += [node, *(item for item in slices.values() if item.input[0] in node.output)]
    graph.nodes = ordered
