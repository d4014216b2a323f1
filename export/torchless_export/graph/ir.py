"""An ONNX graph in memory, as a list of nodes that can be rewritten."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["MICROSOFT", "Graph", "attribute", "taken_by_branches"]

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators, which all of its builds bring."""


class Graph:
    """A graph whose nodes are replaced one by one.

    Args:
        model: An ONNX model; it is changed.

    Attributes:
        nodes: The nodes in their order, which callers rewrite.
        constants: What is known beforehand, by name: the initializers, and the values of `Constant` nodes.
        outputs: The names of what the graph returns.
        opset: The version of ONNX's own operators.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.nodes: list[Any] = list(model.graph.node)
        self.constants = _Constants(model.graph)
        self.outputs = {value.name for value in model.graph.output}
        self.opset = next(item.version for item in model.opset_import if item.domain in {"", "ai.onnx"})

    def consumers(self) -> dict[str, list[Any]]:
        """Return the nodes that take each value."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def producers(self) -> dict[str, Any]:
        """Return the node that gives each value."""
        return {output: node for node in self.nodes for output in node.output}

    def rename(self, names: Mapping[str, str]) -> None:
        """Let nodes take other values.

        Args:
            names: The value to take, by the one that was taken.
        """
        for node in self.nodes:
            for index, name in enumerate(node.input):
                node.input[index] = names.get(name, name)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        self.constants.add(name, values)
        return name

    def optional_input(self, name: str, default: NDArray[Any]) -> str:
        """Add an input that callers may leave out, and return its name."""
        self.constants.add(name, default)
        kind = helper.np_dtype_to_tensor_dtype(default.dtype)
        self._model.graph.input.append(helper.make_tensor_value_info(name, kind, default.shape))
        return name

    @staticmethod
    def node(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        """Return a node of one output."""
        return helper.make_node(op_type, list(inputs), [output], name=output, **attributes)

    def reduce_max(self, name: str, output: str) -> Any:
        """Return a node that takes the maximum along the last axis, and keeps the axis."""
        if self.opset < 18:
            return self.node("ReduceMax", [name], output, axes=[-1], keepdims=1)
        axes = self.constant(f"{output}.axes", np.array([-1], np.int64))
        return self.node("ReduceMax", [name, axes], output, keepdims=1)

    def cast_to_float(self, name: str, output: str) -> Any:
        """Return a node that turns integers into float32."""
        return self.node("Cast", [name], output, to=onnx.TensorProto.FLOAT)

    def split_gemms(self) -> None:
        """Write each Gemm with a constant matrix as what it is, a MatMul and an Add."""
        nodes = []
        for node in self.nodes:
            settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            plain = settings.get("alpha", 1) == 1 and settings.get("beta", 1) == 1 and not settings.get("transA", 0)
            if node.op_type != "Gemm" or not plain or node.input[1] not in self.constants:
                nodes.append(node)
                continue
            matrix, out = node.input[1], node.output[0]
            if settings.get("transB", 0):
                matrix = self.constant(f"{out}.matrix", self.constants[matrix].T)
            biased = len(node.input) > 2
            product = f"{out}.product" if biased else out
            nodes.append(self.node("MatMul", [node.input[0], matrix], product))
            if biased:
                nodes.append(self.node("Add", [product, node.input[2]], out))
        self.nodes = nodes

    def fold_transposes(self) -> None:
        """Write the transpose of a constant matrix, as tied weights have it, as the constant that it is."""
        for node in self.nodes:
            if node.op_type == "Transpose" and node.input[0] in self.constants:
                axes = next((list(item.ints) for item in node.attribute if item.name == "perm"), None)
                self.constant(node.output[0], self.constants[node.input[0]].transpose(axes))
        self.nodes = [node for node in self.nodes if node.output[0] not in self.constants or node.op_type == "Constant"]

    def model(self, *, domains: Iterable[str] = ()) -> Any:
        """Return the ONNX model with the nodes as they are now, without what nothing needs.

        Args:
            domains: The operators' domains that the nodes need beside ONNX's own.
        """
        graph = self._model.graph
        needed = {value.name for value in graph.output}
        kept = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.output):
                kept.append(node)
                needed.update(node.input)
                needed.update(taken_by_branches(node))
        del graph.node[:]
        graph.node.extend(reversed(kept))
        self.constants.keep(needed)
        present = {item.domain for item in self._model.opset_import}
        self._model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains if domain not in present)
        del graph.value_info[:]
        return self._model


class _Constants:
    """Constants by name, read as arrays only when they are asked for."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._tensors[node.output[0]] = node.attribute[0].t

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.asarray(numpy_helper.to_array(self._tensors[name]))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a constant, without reading it."""
        return tuple(self._tensors[name].dims)

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Add an initializer."""
        tensor = numpy_helper.from_array(np.asarray(values, order="C"), name)
        self._graph.initializer.append(tensor)
        self._tensors[name] = tensor

    def keep(self, needed: set[str]) -> None:
        """Drop the initializers that are not needed."""
        kept = [tensor for tensor in self._graph.initializer if tensor.name in needed]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def attribute(node: Any, name: str) -> Any:
    """Return the value of a node's attribute; None where it has none of that name."""
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), None)


def taken_by_branches(node: Any) -> set[str]:
    """Return what the branches of an `If` or `Loop` take from the graph around them."""
    graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    taken: set[str] = set()
    for graph in graphs:
        for inner in graph.node:
            taken.update(inner.input)
            taken.update(taken_by_branches(inner))
        taken.update(value.name for value in graph.output)
    return taken
