import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless.ort.session import Session
from torchless_export.graph.ir import Graph
from torchless_export.quantization.q8 import quantize as module
from torchless_export.quantization.q8.folding import fold_channels
from torchless_export.quantization.q8.quantize import quantize

RNG = np.random.default_rng(0)
WIDTH, HEADS = 32, 4
FEEDS = [{"x": RNG.standard_normal((1, 8, WIDTH)).astype(np.float32)} for _ in range(50)]


def attention(path, *, outputs=("y",)):
    """A graph of a layer normalisation, and attention after it, (batch, tokens, WIDTH)."""
    constants = {f"{name}.w": RNG.standard_normal((WIDTH, WIDTH)) / 3 for name in "qkvo"}
    constants |= {f"{name}.b": RNG.standard_normal(WIDTH) for name in "qkvo"}
    constants |= {"gamma": RNG.uniform(0.2, 3, WIDTH), "beta": RNG.standard_normal(WIDTH) * 3}
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([0, 0, HEADS, WIDTH // HEADS]), "split"))
    tensors.append(numpy_helper.from_array(np.array([0, 0, WIDTH]), "merge"))
    nodes = [helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["h"], axis=-1)]
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            helper.make_node("MatMul", ["h", f"{name}.w"], [f"{name}.p"]),
            helper.make_node("Add", [f"{name}.p", f"{name}.b"], [name]),
            helper.make_node("Reshape", [name, "split"], [f"{name}.4"]),
            helper.make_node("Transpose", [f"{name}.4"], [f"{name}.t"], perm=perm),
        ]
    nodes += [
        helper.make_node("MatMul", ["q.t", "k.t"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
        helper.make_node("MatMul", ["probabilities", "v.t"], ["average"]),
        helper.make_node("Transpose", ["average"], ["back"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["back", "merge"], ["merged"]),
        helper.make_node("MatMul", ["merged", "o.w"], ["o.p"]),
        helper.make_node("Add", ["o.p", "o.b"], ["o"]),
        helper.make_node("Add", ["o", "h"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def scaled(path):
    """The names of the values that are multiplied by a factor per channel."""
    return {node.input[0] for node in onnx.load(path).graph.node if node.output[0].endswith(".q8.scaled")}


def test_folding_does_not_change_answers(tmp_path, monkeypatch, recorded):
    source = attention(tmp_path / "a.onnx")
    quantize(source, tmp_path / "b.onnx", recorded(source, FEEDS[:40]))
    monkeypatch.setattr(module, "fold_channels", lambda graph: None)
    quantize(source, tmp_path / "c.onnx", recorded(source, FEEDS[:40]))
    assert (scaled(tmp_path / "b.onnx"), scaled(tmp_path / "c.onnx")) == ({"h"}, {"h", "merged"})
    x = {"x": np.concatenate([feed["x"] for feed in FEEDS[40:]])}
    (exact,), (folded,), (passed,) = (Session(tmp_path / f"{name}.onnx").run(x) for name in "abc")
    assert np.linalg.norm(folded - passed) < 1e-3 * np.linalg.norm(exact)
    assert np.linalg.norm(folded - exact) < 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize("other", ["merged", "v"])
def test_values_with_other_uses_are_not_folded(tmp_path, other, recorded):
    source = attention(tmp_path / "a.onnx", outputs=("y", other))
    quantize(source, tmp_path / "b.onnx", recorded(source, FEEDS))
    assert scaled(tmp_path / "b.onnx") == {"h", "merged"}


@pytest.mark.parametrize(("axis", "kept"), [(-1, {"h"}), (3, {"h"}), (2, {"h", "merged"})])
def test_only_where_probabilities_sum_to_1(tmp_path, monkeypatch, axis, kept, recorded):
    monkeypatch.setattr(module, "fold_channels", lambda graph: None)
    source = attention(tmp_path / "a.onnx")
    quantize(source, tmp_path / "b.onnx", recorded(source, FEEDS))
    model = onnx.load(tmp_path / "b.onnx")
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    softmax.attribute[0].i = axis
    graph = Graph(model)
    fold_channels(graph)
    onnx.save(graph.model(), tmp_path / "c.onnx")
    assert scaled(tmp_path / "c.onnx") == kept


def test_only_normalisations_are_scaled_in_the_embedded_model(sentiment):
    names = scaled(sentiment / "onnx" / "model_quantized.onnx")
    assert names
    assert all("LayerNorm" in name for name in names)
