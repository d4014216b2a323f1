"""Shapes that are known before a graph runs, written into the graph as constants.

The exporter's graphs compute the shapes and the scales that they need at run time: a hundred nodes in an encoder of six
layers, each as expensive as a small sum. Only the sizes of the batch and of the tokens' axis depend on the input.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from torchless_export.graph.ir import Graph, inputs_of_branches

__all__ = ["Shape", "infer_shapes", "known_shapes"]

Shape: TypeAlias = Sequence[int | str]
"""The size of each axis: a number, or a name if the size depends on the input."""

_LOG = logging.getLogger(__name__)
_MAX_FOLDED = 64
# Operators whose result is exact, and so the same in every implementation.
_FOLDED = {"Add", "Cast", "Concat", "Div", "Gather", "Mul", "Slice", "Sqrt", "Squeeze", "Sub", "Unsqueeze"}
_ELEMENTWISE = {"Add", "And", "Cast", "Equal", "Mul", "Not", "Or", "Sub", "Where"}


def infer_shapes(path: Path) -> None:
    """Replace the shapes that are known by constants; without ONNX Runtime's optimizations the answers stay bit-identical.

    With them, ONNX Runtime can fuse more, as the scaling of attention scores into their product, which rounds differently.
    Shapes that cannot be inferred, and the branches of an `If` or `Loop`, stay as they are.

    Args:
        path: An ONNX file; it is replaced. Weights in a second file are not read.
    """
    model = onnx.load(path, load_external_data=False)
    shapes = known_shapes(model)
    graph = Graph(model)
    before = len(graph.nodes)
    _fix_sizes(graph, shapes)
    _fold(graph)
    _fix_reshapes(graph, shapes)
    graph = Graph(graph.model())  # without the unused nodes that computed shapes: they use expanded values too
    _drop_expands(graph, shapes)
    model = graph.model()
    onnx.save(model, path)
    _LOG.info("%s: %d of %d nodes are left.", path.name, len(model.graph.node), before)


def known_shapes(model: Any) -> dict[str, Shape]:
    """Return the shapes that can be inferred, by the values' names."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    # Its infer_shapes is not used: when it fails, it writes a file into the working directory.
    inference = SymbolicShapeInference(2**31 - 1, auto_merge=True, guess_output_rank=False, verbose=0)
    complete = False
    try:
        inference._preprocess(_outline(model))  # noqa: SLF001
        while inference.run_:
            complete = inference._infer_impl()  # noqa: SLF001
    except Exception as error:  # noqa: BLE001 - it raises many kinds of errors; the graph works as it is
        _LOG.info("The shapes cannot be inferred: %s", error)
    if not complete:
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
    """Return a model with its large constants as inputs: shapes do not depend on them, and copying them is slow."""
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
    """Replace parts of a shape by constants, where the sizes are known."""
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
        axes = _evaluate(graph, node, node.input[1:], {node.input[0]: np.arange(len(all_sizes))})
        known = [all_sizes[axis] for axis in axes.ravel()]
        if all(isinstance(size, int) for size in known):
            graph.constant(node.output[0], np.array(known, np.int64).reshape(axes.shape))
    graph.drop_folded_nodes()


def _fold(graph: Graph) -> None:
    """Evaluate the nodes whose inputs are small constants."""
    for node in graph.nodes:
        names = [name for name in node.input if name]
        if (
            node.op_type in _FOLDED
            and all(name in graph.constants for name in names)
            and all(np.prod(graph.constants.shape(name)) <= _MAX_FOLDED for name in names)
        ):
            graph.constant(node.output[0], _evaluate(graph, node, names))
    graph.drop_folded_nodes()


def _fix_reshapes(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Give reshapes a constant target shape: 0 keeps the size of the input's axis, and -1 is a size that is not known."""
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
    """Remove the `Expand` of a value, as of a mask, if a later operator broadcasts the value to the same shape."""
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        narrower = _narrower(node.output[0], graph, shapes) if node.op_type == "Expand" else set()
        if narrower:
            renamed[node.output[0]] = node.input[0]
        for name in narrower:
            shapes.pop(name, None)  # the shape is no longer true: later decisions must not rely on it
    graph.rename(renamed)


def _narrower(expanded: str, graph: Graph, shapes: Mapping[str, Shape]) -> set[str]:
    """Return the values whose shape changes if a value is not expanded; an empty set if answers could change."""
    found = {expanded}
    for node in graph.nodes:
        narrower = found & {*node.input, *inputs_of_branches(node)}
        if not narrower:
            continue
        if node.op_type not in _ELEMENTWISE or not narrower <= shapes.keys():
            return set()
        wide_shapes = [shapes.get(name, ()) for name in node.input if name not in found]
        if not any(all(_covers(wide, shapes[name]) for name in narrower) for wide in wide_shapes):
            found.add(node.output[0])
    return set() if found & graph.outputs else found


def _covers(larger: Shape, smaller: Shape) -> bool:
    """Return whether broadcasting with a smaller shape leaves the larger shape as it is."""
    pairs = zip(reversed(larger), reversed(smaller), strict=False)
    return len(larger) >= len(smaller) and all(small in {1, large} and large for large, small in pairs)


def _evaluate(graph: Graph, node: Any, constants: Sequence[str], inputs: Mapping[str, Any] | None = None) -> Any:
    """Return the output of a node.

    Args:
        graph: The graph with the constants.
        node: The node.
        constants: The names of the node's inputs that are constants.
        inputs: The values of its other inputs, by name.
    """
    feeds = {name: graph.constants[name] for name in constants} | dict(inputs or {})
    (output,) = ReferenceEvaluator(node).run(None, feeds)
    return output
