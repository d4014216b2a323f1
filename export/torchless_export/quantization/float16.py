"""A graph in float16, except for the parts that float16 cannot hold."""

from typing import Any

__all__ = ["float16_graph"]

# transformers.js's: what two masks add up to is still finite, and no weight comes near it.
_LARGEST_FP16 = 1e4


def float16_graph(model: Any) -> Any:
    """Return a graph in float16; its inputs, its outputs and the nodes that need float32 stay in float32.

    Args:
        model: An ONNX model, with the types of its values.
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
        node_block_list=_float32_nodes(model.graph),
    )
    _remove_casts(model.graph)
    ONNXModel(model).topological_sort()
    return model


def _float32_nodes(graph: Any) -> list[str]:
    """Name the nodes that stay in float32: float16 ends at 65,504, and tells whole numbers apart only up to 2,048.

    Squares of hidden states pass the first, in the root mean square of Llama's family. Positions need the second: on the
    way to the cosines and sines of rotary embeddings, and where the distance of two tokens becomes a bucket's number.
    """
    from onnx import TensorProto

    producers = {output: node for node in graph.node for output in node.output}
    floats = {item.name for item in graph.value_info if item.type.tensor_type.elem_type == TensorProto.FLOAT}
    consumers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)

    found = set()
    queue = [node for node in graph.node if node.op_type in {"Cos", "Sin"} or _to_integers(node)]
    while queue:
        node = queue.pop()
        if node.name not in found:
            found.add(node.name)
            queue += [producers[name] for name in node.input if name in producers and name in floats]
    for mean in (node for node in graph.node if node.op_type == "ReduceMean"):
        squares = producers.get(mean.input[0])
        if squares is not None and squares.op_type == "Pow":
            found.update({squares.name, mean.name})
            queue = consumers.get(mean.output[0], [])
            while queue:  # the sum with epsilon, the root, and what divides by it
                found.update(node.name for node in queue)
                roots = [node for node in queue if node.op_type in {"Add", "Sqrt"}]
                queue = [node for root in roots for node in consumers.get(root.output[0], [])]
    return sorted(found)


def _to_integers(node: Any) -> bool:
    """Whether a node makes whole numbers of what it is given."""
    from onnx import TensorProto

    wholes = {TensorProto.INT32, TensorProto.INT64}
    return node.op_type == "Cast" and any(item.name == "to" and item.i in wholes for item in node.attribute)


def _remove_casts(graph: Any) -> None:
    """Remove the casts that the converter writes twice, and those to float16 and back between two nodes in float32."""
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        for index, name in enumerate(node.input):
            back = producers.get(name)
            if back is not None and back.name.endswith("_cast_to_fp32_node"):
                there = producers.get(back.input[0])
                if there is not None and there.name.endswith("_cast_to_fp16_node"):
                    node.input[index] = there.input[0]
    outputs = {item.name for item in graph.output}
    for end in ("_cast_to_fp32_node", "_cast_to_fp16_node"):
        needed = outputs.union(*(node.input for node in graph.node))
        kept = []
        for node in graph.node:
            if node.name.endswith(end):
                if node.output[0] not in needed:
                    continue
                needed.remove(node.output[0])
            kept.append(node)
        del graph.node[:]
        graph.node.extend(kept)
