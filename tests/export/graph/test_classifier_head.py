"""Graphs whose head reads the first token alone, before and after pruning."""

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchless_export.converters.optimum
from torchless.tasks import find_task
from torchless_export.converters.optimum import convert
from torchless_export.graph.classifier_head import prune_to_first_token
from torchless_export.source.loading import load
from torchless_export.source.source import find_source

TASK = find_task("text-classification")


@pytest.fixture(
    params=["albert", "bert", "deberta-v2", "distilbert", "electra", "mpnet", "roberta"],
    scope="module",
)
def graphs(request, tiny, tmp_path_factory):
    """The exporter's graph of a tiny classifier, and the pruned graph."""
    out = tmp_path_factory.mktemp(request.param)

    def keep_both(path):
        shutil.copy(path, out / "before.onnx")
        prune_to_first_token(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchless_export.converters.optimum, "prune_to_first_token", keep_both)
        checkpoint = tiny.checkpoint(request.param, TASK.name, num_labels=3)
        convert(load(find_source(str(checkpoint)), TASK), TASK, out)
    return out / "before.onnx", out / "onnx" / "model.onnx"


def feed(inputs, batch, tokens):
    """Random tokens, with padding in all rows but the first."""
    rng = np.random.default_rng(0)
    values = {item.name: rng.integers(5, 300, (batch, tokens)) for item in inputs}
    if "token_type_ids" in values:
        values["token_type_ids"] %= 2
    values["attention_mask"] = np.ones((batch, tokens), np.int64)
    values["attention_mask"][1:, tokens // 2 + 1 :] = 0
    return values


def session(graph):
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 2), (1, 9), (3, 1), (3, 16), (2, 40)])
def test_answers_stay_the_same(graphs, batch, tokens):
    before, after = (session(graph) for graph in graphs)
    values = feed(before.get_inputs(), batch, tokens)
    np.testing.assert_allclose(*(model.run(None, values)[0] for model in (after, before)), rtol=1e-5, atol=1e-5)


def test_the_last_layer_computes_two_tokens(graphs):
    tokens = 9
    two = []
    for path in graphs:
        model = onnx.load(path)
        sums = [item.output[0] for item in model.graph.node if item.op_type == "MatMul"]
        model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in sums)
        run = session(model.SerializeToString())
        shapes = [item.shape for item in run.run(sums, feed(run.get_inputs(), 1, tokens))]
        two.append([shape for shape in shapes if len(shape) == 3 and shape[1] == 2])
        assert any(shape[1] == tokens for shape in shapes)
    assert not two[0]
    assert len(two[1]) >= 3  # the product after attention, and two of the feed-forward part


def test_a_head_that_reads_all_tokens_stays(tiny, tmp_path):
    graph = tmp_path / "model.onnx"
    shutil.copy(tiny.export("bert", "token-classification", num_labels=5) / "onnx" / "model.onnx", graph)
    before = graph.read_bytes()
    prune_to_first_token(graph)
    assert graph.read_bytes() == before


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], **attributes)


PRODUCT = node("MatMul", ["x", "w"], "p")
HEAD = node("Gather", ["last", "first"], "y", axis=1)


@pytest.mark.parametrize(
    ("nodes", "outputs", "cut"),
    [
        ([PRODUCT, node("Tanh", ["p"], "last"), HEAD], ["y"], ["x"]),
        ([PRODUCT, node("Add", ["p", "x"], "last"), HEAD], ["y"], ["x"]),
        ([PRODUCT, node("Add", ["p", "row"], "last"), HEAD], ["y"], ["x"]),
        ([PRODUCT, node("Add", ["p", "table"], "last"), HEAD], ["y"], []),
        ([PRODUCT, node("Tanh", ["p"], "last"), HEAD], ["y", "p"], []),
        ([PRODUCT, node("Tanh", ["p"], "last"), HEAD, node("ReduceSum", ["last"], "s")], ["y", "s"], []),
        ([PRODUCT, node("Softmax", ["p"], "last", axis=1), HEAD], ["y"], []),
        ([PRODUCT, node("Softmax", ["p"], "last", axis=2), HEAD], ["y"], ["x"]),
        ([PRODUCT, node("Tanh", ["p"], "last"), node("Gather", ["last", "second"], "y", axis=1)], ["y"], []),
        ([node("MatMul", ["x", "t"], "p"), node("Tanh", ["p"], "last"), HEAD], ["y"], ["x"]),
        ([node("MatMul", ["t", "x"], "p"), node("Tanh", ["p"], "last"), HEAD], ["y"], ["t"]),
    ],
    ids=[
        "elementwise",
        "with itself",
        "with a row for all tokens",
        "with a row a token",
        "returned",
        "summed",
        "softmax over tokens",
        "softmax over channels",
        "the second token",
        "rows of a product",
        "columns of a product",
    ],
)
def test_only_unused_tokens_are_cut(tmp_path, nodes, outputs, cut):
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((4, 4), np.float32),
        "row": rng.standard_normal(4, np.float32),
        "table": rng.standard_normal((4, 4), np.float32),
        "first": np.array(0),
        "second": np.array(1),
    }
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4, 4]) for name in ("x", "t")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    before = session(path)
    prune_to_first_token(path)
    assert [item.input[0] for item in onnx.load(path).graph.node if item.op_type == "Slice"] == cut
    values = {item.name: rng.standard_normal((3, 4, 4), np.float32) for item in before.get_inputs()}
    for expected, got in zip(before.run(None, values), session(path).run(None, values), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
