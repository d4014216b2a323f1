import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless.ort.session import Session
from torchless_export.graph.ir import Graph
from torchless_export.quantization.blocks.matrix import BlockFormat, nearest_weights, round_inputs
from torchless_export.quantization.blocks.smoothing import smooth
from torchless_export.quantization.linears import find_linears

RNG = np.random.default_rng(0)
WIDTH, HIDDEN = 32, 48
FEEDS = [
    {"x": (RNG.standard_normal((1, 8, WIDTH)) * np.geomspace(0.1, 30, WIDTH)).astype(np.float32)} for _ in range(20)
]


def feed_forward(path, *, normalization="layer", shared=False):
    """A graph of a normalization and a gated feed-forward layer, (batch, tokens, WIDTH)."""
    constants = {
        "gamma": RNG.uniform(0.2, 3, WIDTH),
        "beta": RNG.standard_normal(WIDTH),
        "gate.w": RNG.standard_normal((WIDTH, HIDDEN)) / 6,
        "up.w": RNG.standard_normal((WIDTH, HIDDEN)) / 6,
        "up.b": RNG.standard_normal(HIDDEN),
        "down.w": RNG.standard_normal((HIDDEN, WIDTH)) / 6,
    }
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items()]
    norm = {
        "layer": [helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["h"], axis=-1)],
        "multiplied": [
            helper.make_node("Mul", ["gamma", "x"], ["scaled"]),
            helper.make_node("Add", ["scaled", "beta"], ["h"]),
        ],
        "none": [helper.make_node("Tanh", ["x"], ["h"])],
    }[normalization]
    nodes = [
        *norm,
        helper.make_node("MatMul", ["h", "gate.w"], ["gate"]),
        helper.make_node("Sigmoid", ["gate"], ["sigmoid"]),
        helper.make_node("Mul", ["gate", "sigmoid"], ["silu"]),
        helper.make_node("MatMul", ["h", "up.w"], ["up.p"]),
        helper.make_node("Add", ["up.b", "up.p"], ["up"]),
        helper.make_node("Mul", ["silu", "up"], ["inner"]),
        helper.make_node("MatMul", ["inner", "down.w"], ["down"]),
        helper.make_node("Add", ["down", "h" if shared else "x"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "feed-forward",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def smoothed(source, target, recorded):
    """Smooth all inputs of a graph; return the recorded rows, and those of the new inputs, by the inputs' names."""
    graph = Graph(onnx.load(source))
    linears, links = find_linears(graph), (graph.producers(), graph.consumers())
    before = recorded(source, FEEDS)
    rows = {
        linear.input: smooth(graph, linear, before[linear.input], *links, form=BlockFormat(8, 32))
        for linear in reversed(linears)
    }
    onnx.save(graph.model(), target)
    return before, rows


def spread(rows):
    largest = np.abs(rows).max(axis=0)
    return largest.max() / np.median(largest)


@pytest.mark.parametrize("normalization", ["layer", "multiplied"])
def test_answers_stay_and_ranges_move(tmp_path, normalization, recorded):
    source = feed_forward(tmp_path / "a.onnx", normalization=normalization)
    before, after = smoothed(source, tmp_path / "b.onnx", recorded)
    for feed in FEEDS[:3]:
        expected, got = (Session(tmp_path / name).run(feed)[0] for name in ("a.onnx", "b.onnx"))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    now = recorded(tmp_path / "b.onnx", FEEDS, ["h", "inner"])
    for name in ("h", "inner"):
        np.testing.assert_allclose(now[name], after[name], rtol=1e-3, atol=1e-3 * np.abs(now[name]).max())
        assert spread(after[name]) < 0.9 * spread(before[name])


@pytest.mark.parametrize("form", [BlockFormat(8, 16), BlockFormat(4, 32)], ids=["8 bits", "4 bits"])
def test_rounding_errs_less(tmp_path, form, recorded):
    source = feed_forward(tmp_path / "a.onnx")
    graph = Graph(onnx.load(source))
    linear = next(linear for linear in find_linears(graph) if linear.input == "h")
    rows = recorded(source, FEEDS)["h"]

    def error(rows):
        weights = linear.weights(graph)
        return np.square(round_inputs(rows, form) @ nearest_weights(weights, form) - rows @ weights).mean()

    before = error(rows)
    assert error(smooth(graph, linear, rows, graph.producers(), graph.consumers(), form=form)) < 0.7 * before


@pytest.mark.parametrize(("normalization", "shared"), [("none", False), ("layer", True)])
def test_inputs_that_nothing_scales_or_that_others_use_stay(tmp_path, normalization, shared, recorded):
    before, after = smoothed(
        feed_forward(tmp_path / "a.onnx", normalization=normalization, shared=shared), tmp_path / "b.onnx", recorded
    )
    np.testing.assert_array_equal(after["h"], before["h"])
    assert after["inner"] is not before["inner"]
