"""The exporter's graphs, before and after known shapes become constants."""

import logging
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import torchless_export.converters.optimum
from torchless.tasks import find_task
from torchless_export.converters.optimum import convert
from torchless_export.graph.shapes import infer_shapes
from torchless_export.source.loading import load
from torchless_export.source.source import ReadOptions, find_source

RNG = np.random.default_rng(0)


@pytest.fixture(
    params=[
        ("bert", "multiple-choice"),
        ("deberta-v2", "token-classification"),
        ("distilbert", "token-classification"),
        ("modernbert", "token-classification"),
        ("mpnet", "token-classification"),
        ("gpt2", "text-generation"),
        ("llama", "text-generation"),
    ],
    ids=lambda param: param[0],
    scope="module",
)
def graphs(request, tiny, tmp_path_factory):
    """The exporter's graph of a tiny model, and the graph with constant shapes."""
    model_type, task = request.param
    out = tmp_path_factory.mktemp(model_type)

    def keep_both(path):
        shutil.copy(path, out / "before.onnx")
        infer_shapes(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchless_export.converters.optimum, "infer_shapes", keep_both)
        patch.setattr(torchless_export.converters.optimum, "optimize_decoder", lambda path: None)
        loaded = load(
            find_source(str(tiny.checkpoint(model_type, task)), ReadOptions(allow_random_head=True)), find_task(task)
        )
        convert(loaded, find_task(task), out)
    return out / "before.onnx", out / "onnx" / "model.onnx"


def session(path, *, optimised):
    """A session for a graph, with or without optimizations."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed(inputs, batch, tokens, past):
    """Random inputs, with padding in all rows but the first."""
    axes = {"batch_size": batch, "num_choices": 2, "sequence_length": tokens, "past_sequence_length": past}
    axes["past_sequence_length + sequence_length"] = past + tokens
    values = {}
    for item in inputs:
        shape = [axes.get(axis, axis) for axis in item.shape]
        if item.name == "attention_mask":
            values[item.name] = np.ones(shape, np.int64)
            values[item.name][1:, ..., past + tokens // 2 + 1 :] = 0
        elif item.type == "tensor(float)":
            values[item.name] = RNG.standard_normal(shape).astype(np.float32)
        else:
            values[item.name] = RNG.integers(0, 2 if item.name == "token_type_ids" else 300, shape)
    return values


SIZES = [(1, 1, 0), (1, 9, 0), (3, 16, 0), (2, 40, 3), (1, 130, 0), (4, 1, 7)]


@pytest.mark.parametrize("optimised", [False, True])
def test_answers_stay_the_same(graphs, optimised):
    before, after = (session(path, optimised=optimised) for path in graphs)
    # With a constant scale, ONNX Runtime fuses the scaling of scores into their product, which rounds differently.
    tolerance = 1e-5 if optimised else 0
    for size in SIZES:
        values = feed(before.get_inputs(), *size)
        for expected, got in zip(before.run(None, values), after.run(None, values), strict=True):
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_fewer_nodes_compute_shapes(graphs):
    counts = [
        sum(node.op_type in {"Concat", "Gather", "Shape", "Slice", "Unsqueeze"} for node in onnx.load(path).graph.node)
        for path in graphs
    ]
    assert counts[1] < 0.75 * counts[0]


def test_an_encoder_computes_only_the_number_of_tokens(tiny):
    graph = onnx.load(tiny.export("bert", "token-classification", num_labels=5) / "onnx" / "model.onnx").graph
    assert [node.op_type for node in graph.node if node.op_type in {"Shape", "Sqrt", "Expand", "Concat"}] == ["Shape"]


def write(path, nodes, *, outputs=("y",), constants=None):
    """A graph of x, (batch, 1), and z, (batch, tokens)."""
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", "tokens"]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(values), name) for name, values in (constants or {}).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


EXPANDED = [helper.make_node("Shape", ["z"], ["shape"]), helper.make_node("Expand", ["x", "shape"], ["wide"])]


@pytest.mark.parametrize(
    ("nodes", "outputs", "kept"),
    [
        ([helper.make_node("Add", ["wide", "z"], ["y"])], ["y"], False),
        ([helper.make_node("Mul", ["wide", "x"], ["n"]), helper.make_node("Mul", ["n", "z"], ["y"])], ["y"], False),
        ([helper.make_node("Add", ["wide", "wide"], ["y"])], ["y"], True),
        ([helper.make_node("Add", ["wide", "x"], ["y"])], ["y"], True),
        ([helper.make_node("Add", ["wide", "z"], ["y"])], ["y", "wide"], True),
        ([helper.make_node("ReduceSum", ["wide"], ["s"]), helper.make_node("Add", ["s", "z"], ["y"])], ["y"], True),
        (
            [
                helper.make_node("Expand", ["x", "shape"], ["other"]),
                helper.make_node("Mul", ["wide", "other"], ["m"]),
                helper.make_node("MatMul", ["m", "m"], ["y"]),
            ],
            ["y"],
            True,
        ),
    ],
    ids=["met", "met later", "met by itself", "met by less", "returned", "summed", "met by another that was expanded"],
)
def test_an_expand_stays_unless_a_later_operator_broadcasts(tmp_path, nodes, outputs, kept):
    path = write(tmp_path / "a.onnx", [*EXPANDED, *nodes], outputs=outputs)
    infer_shapes(path)
    assert ("Expand" in {node.op_type for node in onnx.load(path).graph.node}) == kept


def test_shapes_that_cannot_be_inferred_stay(tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nodes = [helper.make_node("Shape", ["z"], ["shape"]), helper.make_node("Nothing", ["x", "shape"], ["y"])]
    path = write(tmp_path / "a.onnx", nodes)
    with caplog.at_level(logging.INFO):
        infer_shapes(path)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Shape", "Nothing"]
    assert "left as they are" in caplog.text
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"]
