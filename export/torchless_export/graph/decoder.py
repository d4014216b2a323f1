"""Cheaper steps of a decoder's graph; in float32, the answers change by rounding only.

The exporter's graphs copy the keys and values of all past tokens several times per token: to scale them, to transpose them,
and to repeat them for the queries that share them. The queries can be scaled and grouped instead.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchless_export.graph.ir import Graph, attribute, nodes_before
from torchless_export.graph.onnx_files import load_graph, save_graph
from torchless_export.graph.shapes import Shape, known_shapes

__all__ = ["KEPT_LOGITS", "optimize_decoder"]

KEPT_LOGITS = "num_logits_to_keep"
"""The input of a decoder that holds the number of tokens, from the end, whose logits are computed."""

_LOG = logging.getLogger(__name__)
_KEYS_TRANSPOSED = [0, 1, 3, 2]
_FORBIDDEN = float(np.finfo(np.float32).min)


def optimize_decoder(path: Path) -> None:
    """Make a decoder's graph cheaper to run, above all for a single token.

    Args:
        path: An ONNX file with fixed shapes; it is replaced.
    """
    model = load_graph(path)
    shapes = known_shapes(model)
    graph = Graph(model)
    before = len(graph.nodes)
    graph.split_gemms()
    _keep_rows(graph, shapes)
    _drop_slices(graph, shapes)
    _share_mask(graph)
    _scale_queries(graph)
    _group_queries(graph, shapes)
    if not any(value.name == "encoder_hidden_states" or ".encoder." in value.name for value in model.graph.input):
        _add_kept_logits(graph)
    model = graph.model()
    save_graph(model, path)
    _LOG.info("%s: %d of %d nodes are left.", path.name, len(model.graph.node), before)


def _keep_rows(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Remove the reshapes that flatten batch and tokens before a product, and part them again after the product."""
    producers, consumers = graph.producers(), graph.consumers()
    removed: set[int] = set()
    for node in graph.nodes:
        flatten = producers.get(node.input[0]) if node.op_type == "MatMul" else None
        if flatten is None or flatten.op_type != "Reshape":
            continue
        last = node
        match consumers.get(node.output[0], []):
            case [add] if add.op_type == "Add" and node.output[0] == add.input[0] and add.input[1] in graph.constants:
                last = add
        match consumers.get(last.output[0], []):
            case [part] if part.op_type == "Reshape" and last.output[0] not in graph.outputs:
                whole, flat = shapes.get(flatten.input[0], ()), shapes.get(flatten.output[0], ())
                result, columns = shapes.get(part.output[0], ()), shapes.get(last.output[0], ())
                if (
                    len(whole) == len(result) == 3
                    and len(flat) == len(columns) == 2
                    and list(whole[:2]) == list(result[:2])
                    and (whole[2], result[2]) == (flat[1], columns[1])
                ):
                    node.input[0] = flatten.input[0]
                    last.output[0] = part.output[0]
                    removed.add(id(part))
    graph.nodes = [node for node in graph.nodes if id(node) not in removed]


def _drop_slices(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Remove slices that return their whole input."""
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type != "Slice" or node.output[0] in graph.outputs or node.input[1] not in graph.constants:
            continue
        whole, part = shapes.get(node.input[0]), shapes.get(node.output[0])
        steps = graph.constants[node.input[4]] if len(node.input) > 4 else np.ones(1)
        starts_at_0 = not graph.constants[node.input[1]].any()
        if whole and part and list(whole) == list(part) and starts_at_0 and (steps == 1).all():
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
    graph.rename(renamed)


def _share_mask(graph: Graph) -> None:
    """Let all layers add the same mask, with finite numbers instead of infinity.

    A row of negative infinities has no softmax, so the exporter's graphs replace each NaN among the probabilities. Such a
    row is padding: its values are not used, as long as they are finite.
    """
    producers = graph.producers()
    renamed: dict[str, str] = {}
    masks: dict[str, str] = {}
    for node in graph.nodes:
        found = _guarded_mask(node, producers) if node.op_type == "Where" else None
        if found is None:
            continue
        softmax, mask = found
        condition, allowed, forbidden = mask.input
        if not all(_is_scalar(graph, name) for name in (allowed, forbidden)):
            continue
        if graph.constants[allowed].item() != 0 or graph.constants[forbidden].item() > _FORBIDDEN:
            continue
        mask.input[2] = graph.constant(f"{mask.output[0]}.forbidden", np.array(_FORBIDDEN, np.float32))
        renamed[mask.output[0]] = masks.setdefault(condition, mask.output[0])
        renamed[node.output[0]] = softmax.output[0]
    graph.rename(renamed)


def _guarded_mask(node: Any, producers: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return the softmax whose NaNs a `Where` replaces, and the node that computes the mask before the softmax."""
    guard, softmax = producers.get(node.input[0]), producers.get(node.input[2])
    if guard is None or softmax is None or (guard.op_type, softmax.op_type) != ("IsNaN", "Softmax"):
        return None
    add = producers.get(softmax.input[0])
    if guard.input[0] != softmax.output[0] or add is None or add.op_type != "Add":
        return None
    masks = [producers[name] for name in add.input if name in producers and producers[name].op_type == "Where"]
    return (softmax, masks[0]) if len(masks) == 1 else None


def _scale_queries(graph: Graph) -> None:
    """Multiply the queries by the whole scale; the exporter multiplies queries and keys by its square root each."""
    producers, consumers = graph.producers(), graph.consumers()
    for node in graph.nodes:
        scaled = [producers[name] for name in node.input if name in producers] if node.op_type == "MatMul" else []
        if [factor.op_type for factor in scaled] != ["Mul", "Mul"] or not all(
            _is_scalar(graph, factor.input[1]) for factor in scaled
        ):
            continue
        queries, keys = scaled
        transposed = producers.get(keys.input[0])
        if transposed is not None and transposed.op_type == "Transpose" and len(consumers[queries.output[0]]) == 1:
            scale = graph.constants[queries.input[1]] * graph.constants[keys.input[1]]
            queries.input[1] = graph.constant(f"{queries.output[0]}.scale", scale)
            node.input[1] = keys.input[0]


def _group_queries(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Make the queries that share a head of keys and values the rows of a single product, instead of repeating the head."""
    producers = graph.producers()
    nodes = []
    for node in graph.nodes:
        shared = _shared(node, producers, shapes) if node.op_type == "MatMul" else None
        if shared is None:
            nodes.append(node)
            continue
        name, heads, groups, transposed = shared
        out, operand = node.output[0], name
        if transposed:
            operand = f"{out}.shared"
            nodes.append(graph.node("Transpose", [name], operand, perm=_KEYS_TRANSPOSED))
        grouped = graph.constant(f"{out}.grouped.shape", np.array([0, heads, -1, 0], np.int64))
        parted = graph.constant(f"{out}.parted.shape", np.array([0, heads * groups, -1, 0], np.int64))
        nodes += [
            graph.node("Reshape", [node.input[0], grouped], f"{out}.grouped"),
            graph.node("MatMul", [f"{out}.grouped", operand], f"{out}.product"),
            graph.node("Reshape", [f"{out}.product", parted], out),
        ]
    graph.nodes = nodes


def _shared(node: Any, producers: Mapping[str, Any], shapes: Mapping[str, Shape]) -> tuple[str, int, int, bool] | None:
    """Return what a product repeats: its name, its number of heads, the repeats of each, and whether it is transposed."""
    name = node.input[1]
    transposed = name in producers and attribute(producers[name], "perm") == _KEYS_TRANSPOSED
    chain = nodes_before(producers[name].input[0] if transposed else name, producers, "Reshape", "Expand", "Unsqueeze")
    if not chain:
        return None
    merge, expand, unsqueeze = chain
    name = unsqueeze.input[0]
    single, repeated, merged = (list(shapes.get(value, ())) for value in (name, expand.output[0], merge.output[0]))
    if len(single) != 4 or len(repeated) != 5:
        return None
    heads, groups = repeated[1:3]
    if not isinstance(heads, int) or not isinstance(groups, int):
        return None
    batch, _, *rest = single
    if repeated != [batch, heads, groups, *rest] or merged != [batch, heads * groups, *rest]:
        return None
    return name, heads, groups, transposed


def _add_kept_logits(graph: Graph) -> None:
    """Add an input for the number of tokens, from the end, whose logits are computed: after a prompt, the last is enough.

    transformers.js and ONNX Runtime's tools use the same name. The input is optional; its default of 0 means all tokens.
    ONNX Runtime does not list it among the required inputs, so a caller that does not know it need not pass it.
    """
    head = graph.producers().get("logits")
    if head is None or head.op_type != "MatMul":
        return
    count = graph.optional_input(KEPT_LOGITS, np.array(0, np.int64))
    axis, end = (np.array([number], np.int64) for number in (1, np.iinfo(np.int64).max))
    added = [
        graph.node("Neg", [count], f"{count}.negative"),
        graph.node("Reshape", [f"{count}.negative", graph.constant(f"{count}.one", axis)], f"{count}.start"),
        graph.node(
            "Slice",
            [head.input[0], f"{count}.start", graph.constant(f"{count}.end", end), f"{count}.one"],
            f"{count}.hidden",
        ),
    ]
    position = next(index for index, node in enumerate(graph.nodes) if node is head)
    graph.nodes[position:position] = added
    head.input[0] = f"{count}.hidden"


def _is_scalar(graph: Graph, name: str) -> bool:
    return name in graph.constants and np.prod(graph.constants.shape(name)) == 1
