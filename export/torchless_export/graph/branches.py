"""The decoder of an encoder-decoder: a graph for the first tokens and one for those with a past, as branches of one graph.

The first works out the keys and values of the encoder's output, which the other takes. optimum and transformers.js choose by
the input `use_cache_branch`; weights that both have are held once.
"""

import hashlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from torchless_export.graph.ir import attribute, taken_by_branches
from torchless_export.graph.onnx_files import load_graph, save_graph

__all__ = ["has_branches", "merge", "rebuild_branches"]

_CHOICE = "use_cache_branch"
# ONNX Runtime works out shapes by small constants, and looks for them beside the nodes that take them.
_MAX_KEPT_INSIDE = 64


def has_branches(path: Path) -> bool:
    """Whether a graph is two that were merged.

    Args:
        path: An ONNX file.
    """
    return any(item.name == _CHOICE for item in onnx.load(path, load_external_data=False).graph.input)


def merge(first: Path, later: Path, target: Path) -> None:
    """Make one graph of two.

    Args:
        first: The graph for the first tokens.
        later: The graph for those with a past: it takes keys and values, and gives no more than the first.
        target: The file to write. What the later graph does not give is empty where it runs.
    """
    save_graph(_merged(load_graph(first), load_graph(later)), target)


def rebuild_branches(source: Path, target: Path, make: Callable[[Path, Path], None]) -> None:
    """Make another graph of each branch, and merge what was made.

    Args:
        source: A graph with branches.
        target: The file to write.
        make: Writes a graph that is made of another: (the graph, the file to write).
    """
    with TemporaryDirectory(dir=target.parent) as scratch:
        remade = []
        for name, model in zip(("first", "later"), _split_branches(load_graph(source)), strict=True):
            branch = Path(scratch) / f"{name}.onnx"
            remade.append(branch.with_name(f"{name}_remade.onnx"))
            save_graph(model, branch)
            make(branch, remade[-1])
        first, later = remade
        merge(first, later, target)


def _merged(first: Any, later: Any) -> Any:
    _share_weights(first, later)
    _add_empty_outputs(first, later)
    inputs = {item.name: item for model in (first, later) for item in model.graph.input}
    choice = helper.make_tensor_value_info(_CHOICE, TensorProto.BOOL, [1])
    weights = {item.name: item for model in (first, later) for item in model.graph.initializer if _is_large(item)}
    node = helper.make_node(
        "If",
        [_CHOICE],
        [item.name for item in first.graph.output],
        name="choose_branch",
        then_branch=_branch("with_past", later),
        else_branch=_branch("without_past", first),
    )
    graph = helper.make_graph([node], "decoder", [*inputs.values(), choice], first.graph.output)
    graph.initializer.extend(weights.values())
    return helper.make_model(
        graph, opset_imports=_opsets(first, later), ir_version=max(first.ir_version, later.ir_version)
    )


def _share_weights(first: Any, later: Any) -> None:
    """Let the later graph take the weights that the first has; those of its own get other names."""
    held = {_content(item): item.name for item in first.graph.initializer if _is_large(item)}
    names = {item.name for item in first.graph.initializer}
    renamed = {}
    for item in filter(_is_large, later.graph.initializer):
        renamed[item.name] = held.get(_content(item)) or (f"{item.name}.with_past" if item.name in names else item.name)
        item.name = renamed[item.name]
    for node in later.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def _add_empty_outputs(first: Any, later: Any) -> None:
    """Let the later graph give all that the first gives, in its order: what it does not work out is empty."""
    given = {item.name: item for item in later.graph.output}
    for item in (item for item in first.graph.output if item.name not in given):
        type_ = item.type.tensor_type
        sizes = [axis.dim_value or (1 if index else 0) for index, axis in enumerate(type_.shape.dim)]
        empty = helper.make_tensor(f"{item.name}.empty", type_.elem_type, sizes, [])
        later.graph.node.append(helper.make_node("Constant", [], [item.name], name=item.name, value=empty))
        given[item.name] = item
    outputs = [onnx.ValueInfoProto.FromString(given[item.name].SerializeToString()) for item in first.graph.output]
    del later.graph.output[:]
    later.graph.output.extend(outputs)


def _branch(name: str, model: Any) -> Any:
    graph = helper.make_graph(model.graph.node, name, [], model.graph.output)
    graph.initializer.extend(item for item in model.graph.initializer if not _is_large(item))
    return graph


def _split_branches(model: Any) -> tuple[Any, Any]:
    """Return the graph for the first tokens, and the one for those with a past."""
    (choice,) = model.graph.node
    first, later = (_graph_of(attribute(choice, name), model) for name in ("else_branch", "then_branch"))
    return first, later


def _graph_of(branch: Any, model: Any) -> Any:
    """Return a branch as a graph of its own, without the outputs that are empty in it."""
    outputs = {item.name for item in branch.output}
    empty = {node.output[0] for node in branch.node if node.op_type == "Constant" and node.output[0] in outputs}
    nodes = [node for node in branch.node if empty.isdisjoint(node.output)]
    taken = set(chain.from_iterable((*node.input, *taken_by_branches(node)) for node in nodes))
    graph = helper.make_graph(
        nodes,
        branch.name,
        [item for item in model.graph.input if item.name in taken],
        [item for item in branch.output if item.name not in empty],
    )
    graph.initializer.extend(item for item in (*branch.initializer, *model.graph.initializer) if item.name in taken)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _opsets(*models: Any) -> list[Any]:
    return list({item.domain: item for model in models for item in model.opset_import}.values())


def _is_large(tensor: Any) -> bool:
    return bool(np.prod(tensor.dims) > _MAX_KEPT_INSIDE)


def _content(tensor: Any) -> tuple[int, tuple[int, ...], bytes]:
    """Return what tells a constant's values apart from others."""
    values = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
    return tensor.data_type, tuple(tensor.dims), hashlib.sha256(values).digest()
