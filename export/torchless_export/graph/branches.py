"""The decoder of an encoder-decoder: a graph without past keys and values and a graph with them, merged into one graph.

The graph without a past also computes the keys and values of the encoder's output; the graph with a past takes them as
inputs. optimum and transformers.js choose the branch with the input `use_cache_branch`. The branches share their weights.
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

from torchless_export.graph.ir import attribute, inputs_of_branches
from torchless_export.graph.onnx_files import load_graph, save_graph

__all__ = ["has_branches", "merge", "rebuild_branches"]

_CHOICE = "use_cache_branch"
# ONNX Runtime infers shapes from small constants, and looks for them in the branch of the nodes that use them.
_MAX_ELEMENTS_IN_BRANCH = 64


def has_branches(path: Path) -> bool:
    """Return whether a graph was merged from two graphs.

    Args:
        path: An ONNX file.
    """
    return any(item.name == _CHOICE for item in onnx.load(path, load_external_data=False).graph.input)


def merge(without_past: Path, with_past: Path, target: Path) -> None:
    """Merge two graphs into one graph. An output that the graph with a past lacks is empty in its branch.

    Args:
        without_past: The graph for the first tokens.
        with_past: The graph for later tokens. It takes past keys and values; its outputs are a subset of the other's.
        target: The file to write.
    """
    save_graph(_merged(load_graph(without_past), load_graph(with_past)), target)


def rebuild_branches(source: Path, target: Path, make: Callable[[Path, Path], None]) -> None:
    """Make a new graph from each branch, and merge the new graphs.

    Args:
        source: A graph with branches.
        target: The file to write.
        make: A function that reads a graph from the first path and writes a new graph to the second.
    """
    with TemporaryDirectory(dir=target.parent) as scratch:
        rebuilt = []
        model = load_graph(source)
        (choice,) = model.graph.node
        for branch_name in ("else_branch", "then_branch"):  # without a past, with a past
            branch = Path(scratch) / f"{branch_name}.onnx"
            rebuilt.append(branch.with_name(f"{branch_name}_rebuilt.onnx"))
            save_graph(_standalone(attribute(choice, branch_name), model), branch)
            make(branch, rebuilt[-1])
        merge(rebuilt[0], rebuilt[1], target)


def _merged(without_past: Any, with_past: Any) -> Any:
    models = (without_past, with_past)
    _share_weights(without_past, with_past)
    _add_empty_outputs(without_past, with_past)
    inputs = {item.name: item for model in models for item in model.graph.input}
    weights = {item.name: item for model in models for item in model.graph.initializer if _is_large(item)}
    outputs = without_past.graph.output
    node = helper.make_node(
        "If",
        [_CHOICE],
        [item.name for item in outputs],
        name="choose_branch",
        then_branch=_branch("with_past", with_past),
        else_branch=_branch("without_past", without_past),
    )
    choice = helper.make_tensor_value_info(_CHOICE, TensorProto.BOOL, [1])
    graph = helper.make_graph([node], "decoder", [*inputs.values(), choice], outputs, list(weights.values()))
    opsets = {item.domain: item for model in models for item in model.opset_import}
    version = max(model.ir_version for model in models)
    return helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=version)


def _share_weights(without_past: Any, with_past: Any) -> None:
    """Replace weights of the second graph by equal weights of the first; rename the rest where a name is in use."""
    shared = {_content(item): item.name for item in without_past.graph.initializer if _is_large(item)}
    names = {item.name for item in without_past.graph.initializer}
    renamed = {}
    for item in filter(_is_large, with_past.graph.initializer):
        new_name = f"{item.name}.with_past" if item.name in names else item.name
        renamed[item.name] = item.name = shared.get(_content(item), new_name)
    for node in with_past.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)


def _add_empty_outputs(without_past: Any, with_past: Any) -> None:
    """Add to the second graph the outputs that only the first has, as empty constants, in the order of the first."""
    outputs = {item.name: item for item in with_past.graph.output}
    for item in without_past.graph.output:
        if item.name not in outputs:
            type_ = item.type.tensor_type
            sizes = [axis.dim_value or (1 if index else 0) for index, axis in enumerate(type_.shape.dim)]
            empty = helper.make_tensor(f"{item.name}.empty", type_.elem_type, sizes, [])
            with_past.graph.node.append(helper.make_node("Constant", [], [item.name], name=item.name, value=empty))
            outputs[item.name] = item
    ordered = [
        onnx.ValueInfoProto.FromString(outputs[item.name].SerializeToString()) for item in without_past.graph.output
    ]
    del with_past.graph.output[:]
    with_past.graph.output.extend(ordered)


def _branch(name: str, model: Any) -> Any:
    small = [item for item in model.graph.initializer if not _is_large(item)]
    return helper.make_graph(model.graph.node, name, [], model.graph.output, small)


def _standalone(branch: Any, model: Any) -> Any:
    """Return a branch of a model as a model, without the outputs that are empty in this branch."""
    outputs = {item.name for item in branch.output}
    empty = {node.output[0] for node in branch.node if node.op_type == "Constant" and node.output[0] in outputs}
    nodes = [node for node in branch.node if empty.isdisjoint(node.output)]
    used = set(chain.from_iterable((*node.input, *inputs_of_branches(node)) for node in nodes))
    graph = helper.make_graph(
        nodes,
        branch.name,
        [item for item in model.graph.input if item.name in used],
        [item for item in branch.output if item.name not in empty],
        [item for item in (*branch.initializer, *model.graph.initializer) if item.name in used],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _is_large(tensor: Any) -> bool:
    return bool(np.prod(tensor.dims) > _MAX_ELEMENTS_IN_BRANCH)


def _content(tensor: Any) -> tuple[int, tuple[int, ...], bytes]:
    """Return a key that is equal for tensors of equal dtype, shape and values."""
    values = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
    return tensor.data_type, tuple(tensor.dims), hashlib.sha256(values).digest()
