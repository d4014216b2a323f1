"""A graph in float16, except for the nodes that need float32."""

from typing import Any

__all__ = ["float16_graph"]

# As in transformers.js: the sum of two masks is still finite, and weights are far smaller.
_LARGEST_FP16 = 1e4


def float16_graph(model: Any) -> Any:
    """Return a graph in float16; its inputs, its outputs and the nodes that need float32 stay in float32.

    Args:
        model: An ONNX model with the types of its values.
    """
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{index}"
    model = convert_float_to_float16(
        model,
        max_finite_val=_LARGEST_FP16,
        keep_io_types=True,
        disable_shape_infer=True,
        node_block_list=_float32_nodes(model),
    )
    _remove_casts(model.graph)
    ONNXModel(model).topological_sort()
    return model


def _float32_nodes(model: Any) -> list[str]:
    """Return the names of the nodes that stay in float32.

    The largest float16 is 65,504, and above 2,048 not all integers are float16 numbers. Squares of hidden states, in the
    root mean square of models like Llama, exceed the first limit. Positions exceed the second: on the way to the cosines
    and sines of rotary embeddings, and where the distance of two tokens becomes the number of a bucket.
    """
    from onnx import TensorProto

    from torchless_export.graph.ir import Graph, attribute

    graph = Graph(model)
    producers, consumers = graph.producers(), graph.consumers()
    floats = {item.name for item in model.graph.value_info if item.type.tensor_type.elem_type == TensorProto.FLOAT}
    integers = {TensorProto.INT32, TensorProto.INT64}

    found = set()
    queue = [
        node
        for node in graph.nodes
        if node.op_type in {"Cos", "Sin"} or (node.op_type == "Cast" and attribute(node, "to") in integers)
    ]
    while queue:
        node = queue.pop()
        if node.name not in found:
            found.add(node.name)
            queue += [producers[name] for name in node.input if name in producers and name in floats]
    for mean in (node for node in graph.nodes if node.op_type == "ReduceMean"):
        squares = producers.get(mean.input[0])
        if squares is not None and squares.op_type == "Pow":
            found.update({squares.name, mean.name})
            queue = consumers.get(mean.output[0], [])
            while queue:  # the sum with epsilon, the root, and the division by the root
                found.update(node.name for node in queue)
                roots = [node for node in queue if node.op_type in {"Add", "Sqrt"}]
                queue = [node for root in roots for node in consumers.get(root.output[0], [])]
    return sorted(found)


def _remove_casts(graph: Any) -> None:
    """Remove duplicates of the converter's casts, and its casts to float16 and back between two nodes in float32."""
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            to_float32 = producers.get(name)
            if to_float32 is not None and to_float32.name.endswith("_cast_to_fp32_node"):
                to_float16 = producers.get(to_float32.input[0])
                if to_float16 is not None and to_float16.name.endswith("_cast_to_fp16_node"):
                    node.input[index] = to_float16.input[0]
    outputs = {item.name for item in graph.output}
    for suffix in ("_cast_to_fp32_node", "_cast_to_fp16_node"):
        needed = outputs.union(*(node.input for node in graph.node))
        kept = []
        for node in graph.node:
            if node.name.endswith(suffix):
                if node.output[0] not in needed:
                    continue
                needed.remove(node.output[0])
            kept.append(node)
        del graph.node[:]
        graph.node.extend(kept)
