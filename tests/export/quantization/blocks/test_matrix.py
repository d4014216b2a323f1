import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless.ort.session import Session
from torchless_export.graph.ir import MICROSOFT, Graph
from torchless_export.quantization.blocks.matrix import BlockFormat, BlockMatrix

RNG = np.random.default_rng(0)


def matrix(channels, outputs):
    """Weights whose blocks are off centre, as those of real models are."""
    return (RNG.standard_normal((channels, outputs)) + RNG.standard_normal((1, outputs))).astype(np.float32)


def correlated(rows, width):
    mixing = RNG.standard_normal((width, width)) * np.linspace(3, 0.05, width)[:, None]
    return (RNG.standard_normal((rows, width)) @ mixing).astype(np.float32)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("channels", "outputs"), [(64, 16), (100, 33), (32, 48)])
def test_the_operator_multiplies_by_the_weights_of_the_blocks(tmp_path, bits, channels, outputs):
    weights, rows = matrix(channels, outputs), correlated(300, channels)
    blocks = BlockMatrix.fit(weights, rows, BlockFormat(bits, 32))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, channels])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    rewritten = Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
    rewritten.nodes = [blocks.write(rewritten, rewritten.nodes[0], accuracy_level=0, dtype=np.float32)]
    onnx.save(rewritten.model(domains=[MICROSOFT]), tmp_path / "a.onnx")
    (got,) = Session(tmp_path / "a.onnx").run({"x": rows[:5]})
    np.testing.assert_allclose(got, rows[:5] @ blocks.weights(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("bits", "share"), [(4, 0.12), (8, 0.006)])
def test_weights_stay_near(bits, share):
    weights, rows = matrix(96, 40), correlated(400, 96)
    blocks = BlockMatrix.fit(weights, rows, BlockFormat(bits, 32))
    assert np.linalg.norm(rows @ (blocks.weights() - weights)) < share * np.linalg.norm(rows @ weights)


def test_zeros_stay_zeros():
    weights = matrix(64, 8)
    weights[:32, 3] = 0
    rows = np.ones((50, 64), np.float32)
    for bits in (4, 8):
        assert not BlockMatrix.fit(weights, rows * 0, BlockFormat(bits, 32)).weights()[:32, 3].any()


def test_parts_are_the_matrices_that_were_concatenated():
    first, second, rows = matrix(64, 5), matrix(64, 9), correlated(200, 64)
    together = BlockMatrix.fit(np.concatenate([first, second], axis=1), rows, BlockFormat(4, 32))
    parts = list(together.split([5, 9]))
    np.testing.assert_array_equal(np.concatenate([part.weights() for part in parts], axis=1), together.weights())
    np.testing.assert_array_equal(parts[1].weights(), BlockMatrix.fit(second, rows, BlockFormat(4, 32)).weights())
