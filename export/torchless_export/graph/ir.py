"""An ONNX graph in memory, as a list of nodes that can be rewritten."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["MICROSOFT", "Graph", "attribute", "inputs_of_branches", "nodes_before"]

MICROSOFT = "com.microsoft"
"""The domain of the operators that ONNX Runtime adds; all of its builds have them."""


class Graph:
    """A graph whose list of nodes can be changed.

    Args:
        model: An ONNX model; it is changed.

    Attributes:
        nodes: The nodes in topological order; callers change the list.
        constants: The initializers and the values of `Constant` nodes, by name.
        outputs: The names of the graph's outputs.
        opset: The version of the standard operator set.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.nodes: list[Any] = list(model.graph.node)
        self.constants = _Constants(model.graph)
        self.outputs = {value.name for value in model.graph.output}
        self.opset = next(item.version for item in model.opset_import if item.domain in {"", "ai.onnx"})

    def consumers(self) -> dict[str, list[Any]]:
        """Return the nodes that use each value, by the value's name."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def producers(self) -> dict[str, Any]:
        """Return the node that computes each value, by the value's name."""
        return {output: node for node in self.nodes for output in node.output}

    def rename(self, names: Mapping[str, str]) -> None:
        """Replace inputs of nodes.

        Args:
            names: The new input's name, by the old input's name.
        """
        for node in self.nodes:
            for index, name in enumerate(node.input):
                node.input[index] = names.get(name, name)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        self.constants.add(name, values)
        return name

    def optional_input(self, name: str, default: NDArray[Any]) -> str:
        """Add an input with a default value, and return its name."""
        dtype = helper.np_dtype_to_tensor_dtype(default.dtype)
        self._model.graph.input.append(helper.make_tensor_value_info(name, dtype, default.shape))
        return self.constant(name, default)

    @staticmethod
    def node(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        """Return a new node with a single output."""
        return helper.make_node(op_type, list(inputs), [output], name=output, **attributes)

    def reduce_max(self, name: str, output: str) -> Any:
        """Return a node that computes the maximum along the last axis, and keeps the axis."""
        if self.opset < 18:
            return self.node("ReduceMax", [name], output, axes=[-1], keepdims=1)
        axes = self.constant(f"{output}.axes", np.array([-1], np.int64))
        return self.node("ReduceMax", [name, axes], output, keepdims=1)

    def split_gemms(self) -> None:
        """Replace each Gemm with a constant matrix by a MatMul and an Add."""
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
        """Replace each transpose of a constant matrix, as in tied weights, by a constant."""
        for node in self.nodes:
            if node.op_type == "Transpose" and node.input[0] in self.constants:
                self.constant(node.output[0], self.constants[node.input[0]].transpose(attribute(node, "perm")))
        self.drop_folded_nodes()

    def drop_copies(self) -> None:
        """Let nodes read constants themselves, where they read copies.

        The exporter writes weights that layers share, as those of ALBERT, once, and copies of them for the other layers.
        """
        in_branches = {name for node in self.nodes for name in inputs_of_branches(node)}
        sources: dict[str, str] = {}
        for node in self.nodes:
            if node.op_type == "Identity" and node.output[0] not in self.outputs | in_branches:
                source = sources.get(node.input[0], node.input[0])  # of a copy of a copy
                if source in self.constants:
                    sources[node.output[0]] = source
        self.nodes = [node for node in self.nodes if node.output[0] not in sources]
        self.rename(sources)

    def drop_folded_nodes(self) -> None:
        """Remove the nodes whose output is now a constant."""
        self.nodes = [node for node in self.nodes if node.op_type == "Constant" or node.output[0] not in self.constants]

    def model(self, *, domains: Iterable[str] = ()) -> Any:
        """Return the ONNX model with the current nodes, without unused nodes and initializers.

        Args:
            domains: The domains of the nodes' operators, besides the standard one.
        """
        graph = self._model.graph
        needed = {value.name for value in graph.output}
        kept = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.output):
                kept.append(node)
                needed.update(node.input, inputs_of_branches(node))
        del graph.node[:]
        graph.node.extend(reversed(kept))
        self.constants.keep(needed)
        present = {item.domain for item in self._model.opset_import}
        self._model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains if domain not in present)
        del graph.value_info[:]
        return self._model


class _Constants:
    """Constants by name; an array is read when it is used."""

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
        """Return the shape of a constant, without reading its values."""
        return tuple(self._tensors[name].dims)

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Add an initializer."""
        tensor = numpy_helper.from_array(np.asarray(values, order="C"), name)
        self._graph.initializer.append(tensor)
        self._tensors[name] = tensor

    def replace(self, name: str, values: NDArray[Any]) -> None:
        """Give a constant other values, for all nodes that use it."""
        self._tensors[name].CopyFrom(numpy_helper.from_array(np.asarray(values, order="C"), name))

    def keep(self, needed: set[str]) -> None:
        """Remove the initializers that are not needed."""
        kept = [tensor for tensor in self._graph.initializer if tensor.name in needed]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)


def attribute(node: Any, name: str) -> Any:
    """Return the value of a node's attribute; None if the node lacks it."""
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), None)


def inputs_of_branches(node: Any) -> set[str]:
    """Return the names of the values that the branches of an `If` or `Loop` use, those of the outer graph included."""
    names: set[str] = set()
    for graph in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
        for inner in graph.node:
            names.update(inner.input, inputs_of_branches(inner))
        names.update(value.name for value in graph.output)
    return names


def nodes_before(name: str, producers: Mapping[str, Any], *op_types: str) -> list[Any]:
    """Follow the first inputs backwards from a value.

    Args:
        name: The value.
        producers: The node that computes each value, by the value's name.
        op_types: The operators of the nodes to find, the last node's first.

    Returns:
        The nodes in the order of `op_types`; an empty list if a node has another operator.
    """
    found: list[Any] = []
    for op_type in op_types:
        node = producers.get(name)
        if node is None or node.op_type != op_type:
            return []
        found.append(node)
        name = node.input[0]
    return found
