"""Shapes that a model fixes, written into its graph as constants.

The exporter's graphs work out at run time what they reshape to, and what they scale by: a hundred nodes in an encoder of
six layers, each as dear as a small sum. All but the batch and the tokens is known beforehand.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from torchless_export.graph.ir import Graph, taken_by_branches

__all__ = ["Shape", "infer_shapes", "known_shapes"]

Shape: TypeAlias = Sequence[int | str]
"""A number, or the name of what is known at run time, an axis."""

_LOG = logging.getLogger(__name__)
_MAX_FOLDED = 64
# Of one correct outcome, whoever works it out.
_FOLDED = {"Add", "Cast", "Concat", "Div", "Gather", "Mul", "Slice", "Sqrt", "Squeeze", "Sub", "Unsqueeze"}
_ELEMENTWISE = {"Add", "And", "Cast", "Equal", "Mul", "Not", "Or", "Sub", "Where"}


def infer_shapes(path: Path) -> None:
    """Write what is known of a graph's shapes into it; run as it is written, it answers the same bit by bit.

    ONNX Runtime may fuse what it could not before, the scaling of scores into their product: that is another rounding.
    What cannot be worked out stays as it is. Nodes inside of the branches of an `If` or `Loop` are left alone.

    Args:
        path: An ONNX file; it is replaced. Weights outside of it are not read.
    """
    model = onnx.load(path, load_external_data=False)
    shapes = known_shapes(model)
    graph = Graph(model)
    before = len(graph.nodes)
    _fix_sizes(graph, shapes)
    _fold(graph)
    _fix_reshapes(graph, shapes)
    graph = Graph(graph.model())  # without the nodes that worked out shapes: they take what is expanded, too
    _drop_expands(graph, shapes)
    model = graph.model()
    onnx.save(model, path)
    _LOG.info("%s: %d of %d nodes are left.", path.name, len(model.graph.node), before)


def known_shapes(model: Any) -> dict[str, Shape]:
    """Return the shapes of all values, as far as they are known."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    # Not by its infer_shapes, which leaves a file in the working directory where it fails.
    inference = SymbolicShapeInference(2**31 - 1, auto_merge=True, guess_output_rank=False, verbose=0)
    whole = False
    try:
        inference._preprocess(_outline(model))  # noqa: SLF001
        while inference.run_:
            whole = inference._infer_impl()  # noqa: SLF001
    except Exception as error:  # noqa: BLE001 - it raises errors of all kinds, and then the graph is good as it is
        _LOG.info("Shapes cannot be worked out: %s", error)
    if not whole:
        _LOG.info("Shapes are left as they are.")
        return {}
    inferred = inference.out_mp_
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    known = {value.name: value.type.tensor_type for value in values if value.type.tensor_type.HasField("shape")}
    return {
        name: [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in type_.shape.dim]
        for name, type_ in known.items()
    }


def _outline(model: Any) -> Any:
    """Return a graph with its large constants as inputs: their values tell nothing of shapes, and take long to copy."""
    graph = model.graph
    large = [tensor for tensor in graph.initializer if np.prod(tensor.dims) > _MAX_FOLDED]
    outline = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    outline.graph.name = graph.name
    outline.graph.node.extend(graph.node)
    outline.graph.output.extend(graph.output)
    outline.graph.input.extend(graph.input)
    outline.graph.input.extend(helper.make_tensor_value_info(item.name, item.data_type, item.dims) for item in large)
    outline.graph.initializer.extend(item for item in graph.initializer if np.prod(item.dims) <= _MAX_FOLDED)
    return outline


def _fix_sizes(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Make a constant of what is taken of a shape, if it is known."""
    sizes = {
        node.output[0]: shapes[node.input[0]]
        for node in graph.nodes
        if node.op_type == "Shape" and node.input[0] in shapes and not node.attribute
    }
    for node in graph.nodes:
        if node.op_type not in {"Gather", "Slice"} or node.input[0] not in sizes:
            continue
        if not all(name in graph.constants for name in node.input[1:]):
            continue
        all_sizes = sizes[node.input[0]]
        # The node itself tells which axes it takes.
        taken = _outcome(node, {**_inputs(graph, node.input[1:]), node.input[0]: np.arange(len(all_sizes))})
        known = [all_sizes[axis] for axis in taken.ravel()]
        if all(isinstance(size, int) for size in known):
            graph.constant(node.output[0], np.array(known, np.int64).reshape(taken.shape))
    _drop_folded(graph)


def _fold(graph: Graph) -> None:
    """Make constants of what follows from small constants alone."""
    for node in graph.nodes:
        names = [name for name in node.input if name]
        if (
            node.op_type in _FOLDED
            and all(name in graph.constants for name in names)
            and all(np.prod(graph.constants.shape(name)) <= _MAX_FOLDED for name in names)
        ):
            graph.constant(node.output[0], _outcome(node, _inputs(graph, names)))
    _drop_folded(graph)


def _fix_reshapes(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Give what is reshaped a constant shape: 0 stands for the input's own axis, and -1 for one that is not known."""
    for node in graph.nodes:
        if node.op_type != "Reshape" or node.input[1] in graph.constants or any(item.i for item in node.attribute):
            continue
        before, after = (shapes.get(name) for name in (node.input[0], node.output[0]))
        if before is None or after is None:
            continue
        target = [
            size if isinstance(size, int) else 0 if size and before[axis : axis + 1] == [size] else -1
            for axis, size in enumerate(after)
        ]
        if target.count(-1) <= 1:
            node.input[1] = graph.constant(f"{node.output[0]}.shape", np.array(target, np.int64))


def _drop_expands(graph: Graph, shapes: dict[str, Shape]) -> None:
    """Drop what expands a value that later meets one of that shape, as masks do: operators broadcast by themselves."""
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        narrower = _narrower(node.output[0], graph, shapes) if node.op_type == "Expand" else set()
        if narrower:
            renamed[node.output[0]] = node.input[0]
        for name in narrower:
            shapes.pop(name, None)  # so that no other value is taken to meet its shape here
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def _narrower(expanded: str, graph: Graph, shapes: Mapping[str, Shape]) -> set[str]:
    """Return which values would have another shape if one were not expanded; none if answers could change."""
    found = {expanded}
    for node in graph.nodes:
        taken = found & {*node.input, *taken_by_branches(node)}
        if not taken:
            continue
        if node.op_type not in _ELEMENTWISE or not taken <= shapes.keys():
            return set()
        others = [shapes.get(name, ()) for name in node.input if name not in found]
        if not any(all(_covers(other, shapes[name]) for name in taken) for other in others):
            found.add(node.output[0])
    return set() if found & graph.outputs else found


def _covers(larger: Shape, smaller: Shape) -> bool:
    """Whether a shape stays what it is when it is broadcast with another."""
    pairs = zip(reversed(larger), reversed(smaller), strict=False)
    return len(larger) >= len(smaller) and all(its in {1, own_shape} and own_shape for own_shape, its in pairs)


def _drop_folded(graph: Graph) -> None:
    graph.nodes = [node for node in graph.nodes if node.op_type == "Constant" or node.output[0] not in graph.constants]


def _inputs(graph: Graph, names: Sequence[str]) -> dict[str, Any]:
    return {name: graph.constants[name] for name in names}


def _outcome(node: Any, inputs: Mapping[str, Any]) -> Any:
    (outcome,) = ReferenceEvaluator(node).run(None, dict(inputs))
    return outcome
