"""What a decoder's graph does at every token, made cheaper; run in float32, it answers the same but for rounding.

The exporter's graphs copy the keys and values of all past tokens several times a token: to scale them, to transpose them,
and to repeat them for the queries that share them. What is multiplied with them can be scaled and grouped instead.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchless_export.graph.ir import Graph, attribute
from torchless_export.graph.onnx_files import load_graph, save_graph
from torchless_export.graph.shapes import Shape, known_shapes

__all__ = ["KEPT_LOGITS", "optimize_decoder"]

KEPT_LOGITS = "num_logits_to_keep"
"""The input of a decoder that says of how many tokens, from the end, the logits are wanted."""

_LOG = logging.getLogger(__name__)
_KEYS_TRANSPOSED = [0, 1, 3, 2]
_FORBIDDEN = float(np.finfo(np.float32).min)


def optimize_decoder(path: Path) -> None:
    """Make a decoder's graph cheaper to run, a token at a time above all.

    Args:
        path: An ONNX file whose shapes are fixed; it is replaced.
    """
    model = load_graph(path)
    shapes = known_shapes(model)
    graph = Graph(model)
    before = len(graph.nodes)
    graph.split_gemms()
    _keep_rows(graph, shapes)
    _drop_slices(graph, shapes)
    _mask_once(graph)
    _scale_queries(graph)
    _group_queries(graph, shapes)
    if not any(value.name == "encoder_hidden_states" or ".encoder." in value.name for value in model.graph.input):
        _choose_logits(graph)
    model = graph.model()
    save_graph(model, path)
    _LOG.info("%s: %d of %d nodes are left.", path.name, len(model.graph.node), before)


def _keep_rows(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Multiply the tokens of each row as they are, where they are laid end to end before a product and parted after it."""
    producers, consumers = graph.producers(), graph.consumers()
    gone: set[int] = set()
    for node in graph.nodes:
        flat = producers.get(node.input[0]) if node.op_type == "MatMul" else None
        if flat is None or flat.op_type != "Reshape":
            continue
        last = node
        match consumers.get(node.output[0], []):
            case [add] if add.op_type == "Add" and node.output[0] == add.input[0] and add.input[1] in graph.constants:
                last = add
        match consumers.get(last.output[0], []):
            case [parted] if parted.op_type == "Reshape" and last.output[0] not in graph.outputs:
                whole, flattened = shapes.get(flat.input[0], ()), shapes.get(flat.output[0], ())
                outcome, columns = shapes.get(parted.output[0], ()), shapes.get(last.output[0], ())
                if (
                    len(whole) == len(outcome) == 3
                    and len(flattened) == len(columns) == 2
                    and list(whole[:2]) == list(outcome[:2])
                    and (whole[2], outcome[2]) == (flattened[1], columns[1])
                ):
                    node.input[0] = flat.input[0]
                    last.output[0] = parted.output[0]
                    gone.add(id(parted))
    graph.nodes = [node for node in graph.nodes if id(node) not in gone]


def _drop_slices(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Drop slices that begin at 0 and end where the whole ends."""
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type != "Slice" or node.output[0] in graph.outputs or node.input[1] not in graph.constants:
            continue
        whole, taken = shapes.get(node.input[0]), shapes.get(node.output[0])
        steps = graph.constants[node.input[4]] if len(node.input) > 4 else np.ones(1)
        if (
            whole
            and taken
            and list(whole) == list(taken)
            and not graph.constants[node.input[1]].any()
            and (steps == 1).all()
        ):
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
    graph.rename(renamed)


def _mask_once(graph: Graph) -> None:
    """Let all layers add the same mask, with numbers in the place of infinity.

    A row of nothing but infinity has no softmax, so the exporter's graphs look at every probability for what is no number.
    Such a row is padding, which nobody looks at: what it becomes does not matter, as long as it is a number.
    """
    producers = graph.producers()
    renamed: dict[str, str] = {}
    masks: dict[str, str] = {}
    for node in graph.nodes:
        chain = _guarded_mask(node, producers) if node.op_type == "Where" else None
        if chain is None:
            continue
        softmax, mask = chain
        condition, allowed, forbidden = mask.input
        if not all(_is_number(graph, name) for name in (allowed, forbidden)):
            continue
        if graph.constants[allowed].item() != 0 or graph.constants[forbidden].item() > _FORBIDDEN:
            continue
        mask.input[2] = graph.constant(f"{mask.output[0]}.forbidden", np.array(_FORBIDDEN, np.float32))
        renamed[mask.output[0]] = masks.setdefault(condition, mask.output[0])
        renamed[node.output[0]] = softmax.output[0]
    graph.rename(renamed)


def _guarded_mask(node: Any, producers: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return the softmax that a choice guards from what is no number, and what makes the mask that is added before it."""
    guard, softmax = producers.get(node.input[0]), producers.get(node.input[2])
    if guard is None or softmax is None or (guard.op_type, softmax.op_type) != ("IsNaN", "Softmax"):
        return None
    add = producers.get(softmax.input[0])
    if guard.input[0] != softmax.output[0] or add is None or add.op_type != "Add":
        return None
    masks = [producers[name] for name in add.input if name in producers and producers[name].op_type == "Where"]
    return (softmax, masks[0]) if len(masks) == 1 else None


def _scale_queries(graph: Graph) -> None:
    """Scale the queries by both roots of the scale, of which the exporter gives one to all the keys."""
    producers, consumers = graph.producers(), graph.consumers()
    for node in graph.nodes:
        scaled = [producers[name] for name in node.input if name in producers] if node.op_type == "MatMul" else []
        if [factor.op_type for factor in scaled] != ["Mul", "Mul"] or not all(
            _is_number(graph, factor.input[1]) for factor in scaled
        ):
            continue
        queries, keys = scaled
        transposed = producers.get(keys.input[0])
        if transposed is not None and transposed.op_type == "Transpose" and len(consumers[queries.output[0]]) == 1:
            scale = graph.constants[queries.input[1]] * graph.constants[keys.input[1]]
            queries.input[1] = graph.constant(f"{queries.output[0]}.scale", scale)
            node.input[1] = keys.input[0]


def _group_queries(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Multiply the queries that share keys and values as rows of one product, instead of repeating what they share."""
    producers = graph.producers()
    nodes = []
    for node in graph.nodes:
        shared = _shared(node, producers, shapes) if node.op_type == "MatMul" else None
        if shared is None:
            nodes.append(node)
            continue
        name, heads, groups, transpose = shared
        out, other = node.output[0], name
        if transpose is not None:
            other = f"{out}.shared"
            nodes.append(graph.node("Transpose", [name], other, perm=_KEYS_TRANSPOSED))
        grouped = graph.constant(f"{out}.grouped.shape", np.array([0, heads, -1, 0], np.int64))
        parted = graph.constant(f"{out}.parted.shape", np.array([0, heads * groups, -1, 0], np.int64))
        nodes += [
            graph.node("Reshape", [node.input[0], grouped], f"{out}.grouped"),
            graph.node("MatMul", [f"{out}.grouped", other], f"{out}.product"),
            graph.node("Reshape", [f"{out}.product", parted], out),
        ]
    graph.nodes = nodes


def _shared(node: Any, producers: Mapping[str, Any], shapes: Mapping[str, Shape]) -> tuple[str, int, int, Any] | None:
    """Return what a product repeats: its name, how many heads it has, how often each is repeated, and what transposes it."""
    merged = producers.get(node.input[1])
    transpose = merged if merged is not None and attribute(merged, "perm") == _KEYS_TRANSPOSED else None
    chain = [merged if transpose is None else producers.get(transpose.input[0])]
    for op_type in ("Reshape", "Expand", "Unsqueeze"):
        if chain[-1] is None or chain[-1].op_type != op_type:
            return None
        chain.append(producers.get(chain[-1].input[0]))
    merge, expand, unsqueeze = (node for node in chain[:3] if node is not None)
    name = unsqueeze.input[0]
    once, repeated, merged_shape = (shapes.get(value, ()) for value in (name, expand.output[0], merge.output[0]))
    if len(once) != 4 or len(repeated) != 5 or len(merged_shape) != 4:
        return None
    heads, groups = repeated[1:3]
    if not isinstance(heads, int) or not isinstance(groups, int):
        return None
    if list(repeated) != [once[0], heads, groups, *once[2:]] or list(merged_shape) != [
        once[0],
        heads * groups,
        *once[2:],
    ]:
        return None
    return name, heads, groups, transpose


def _choose_logits(graph: Graph) -> None:
    """Let callers say how many tokens, from the end, they want the logits of: after a prompt one is enough.

    The name is that which transformers.js and ONNX Runtime's own tools give to such an input.
    The input may be left out, and is 0 then: the logits of all tokens. ONNX Runtime does not list it among those that a
    graph must be given, so whoever does not know of it is not asked for it.
    """
    head = graph.producers().get("logits")
    if head is None or head.op_type != "MatMul":
        return
    count = graph.optional_input(KEPT_LOGITS, np.array(0, np.int64))
    one, end = (np.array([number], np.int64) for number in (1, np.iinfo(np.int64).max))
    added = [
        graph.node("Neg", [count], f"{count}.negative"),
        graph.node("Reshape", [f"{count}.negative", graph.constant(f"{count}.one", one)], f"{count}.start"),
        graph.node(
            "Slice",
            [head.input[0], f"{count}.start", graph.constant(f"{count}.end", end), f"{count}.one"],
            f"{count}.hidden",
        ),
    ]
    at = next(index for index, node in enumerate(graph.nodes) if node is head)
    graph.nodes[at:at] = added
    head.input[0] = f"{count}.hidden"


def _is_number(graph: Graph, name: str) -> bool:
    return name in graph.constants and np.prod(graph.constants.shape(name)) == 1
