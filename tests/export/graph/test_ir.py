import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless.ort.session import Session
from torchless_export.graph.ir import Graph

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4)).astype(np.float32)


def write(path, nodes, constants, *, inputs=("x",), outputs=("y",), opset=18):
    """A graph of floats; `constants` by name."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def answers(path):
    return Session(path).run({"x": X})


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("biased", [True, False])
def test_a_gemm_is_a_product_and_a_sum(tmp_path, transposed, biased):
    matrix = RNG.standard_normal((5, 4) if transposed else (4, 5))
    inputs = ["x", "w", *(["b"] if biased else [])]
    path = write(
        tmp_path / "a.onnx",
        [helper.make_node("Gemm", inputs, ["y"], transB=transposed)],
        {"w": matrix, "b": RNG.standard_normal(5)},
    )
    graph = Graph(onnx.load(path))
    graph.split_gemms()
    assert [node.op_type for node in graph.nodes] == ["MatMul", "Add"][: 1 + biased]
    onnx.save(graph.model(), tmp_path / "b.onnx")
    np.testing.assert_allclose(answers(tmp_path / "b.onnx")[0], answers(path)[0], rtol=1e-5)


@pytest.mark.parametrize("settings", [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_another_gemm_stays(tmp_path, settings):
    path = write(
        tmp_path / "a.onnx", [helper.make_node("Gemm", ["x", "w", "b"], ["y"], **settings)], {"w": X, "b": X[0]}
    )
    graph = Graph(onnx.load(path))
    graph.split_gemms()
    assert [node.op_type for node in graph.nodes] == ["Gemm"]


def test_tied_weights_are_a_constant(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    path = write(tmp_path / "a.onnx", nodes, {"w": RNG.standard_normal((5, 4))})
    graph = Graph(onnx.load(path))
    graph.fold_transposes()
    assert [node.op_type for node in graph.nodes] == ["MatMul"]
    assert graph.constants.shape("t") == (4, 5)
    onnx.save(graph.model(), tmp_path / "b.onnx")
    assert [item.name for item in onnx.load(tmp_path / "b.onnx").graph.initializer] == ["t"]
    np.testing.assert_array_equal(answers(tmp_path / "b.onnx")[0], answers(path)[0])


def test_unused_nodes_and_weights_are_removed(tmp_path):
    nodes = [helper.make_node("MatMul", ["x", "v"], ["unused"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path / "a.onnx", nodes, {"v": np.eye(4), "w": np.eye(4)})
    onnx.save(Graph(onnx.load(path)).model(), tmp_path / "b.onnx")
    graph = onnx.load(tmp_path / "b.onnx").graph
    assert [node.output[0] for node in graph.node] == ["y"]
    assert [item.name for item in graph.initializer] == ["w"]


def test_weights_that_a_branch_uses_are_kept(tmp_path):
    def branch(name):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("MatMul", ["x", name[0]], [name])], name, [], [out])

    nodes = [
        helper.make_node("Constant", [], ["which"], value=numpy_helper.from_array(np.array([True]))),
        helper.make_node("If", ["which"], ["y"], then_branch=branch("v1"), else_branch=branch("w1")),
    ]
    path = write(tmp_path / "a.onnx", nodes, {"v": np.eye(4) * 2, "w": np.eye(4), "dead": np.eye(4)})
    onnx.save(Graph(onnx.load(path)).model(), tmp_path / "b.onnx")
    assert {item.name for item in onnx.load(tmp_path / "b.onnx").graph.initializer} == {"v", "w"}
    np.testing.assert_array_equal(answers(tmp_path / "b.onnx")[0], X * 2)


@pytest.mark.parametrize("opset", [14, 18])
def test_the_maximum_of_a_row(tmp_path, opset):
    path = write(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], {}, opset=opset)
    graph = Graph(onnx.load(path))
    graph.nodes = [graph.reduce_max("x", "y")]
    onnx.save(graph.model(), tmp_path / "b.onnx")
    np.testing.assert_array_equal(answers(tmp_path / "b.onnx")[0], X.max(axis=-1, keepdims=True))


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_a_constant_keeps_its_shape(tmp_path, shape):
    graph = Graph(onnx.load(write(tmp_path / "a.onnx", [helper.make_node("Identity", ["x"], ["y"])], {})))
    graph.constant("c", np.zeros(shape, np.float32))
    assert graph.constants.shape("c") == shape


def graph_with_copies(path):
    """A product with a matrix, with two copies of it, and with the copy of a value."""
    matrix = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32), "matrix")
    nodes = [
        helper.make_node("Identity", ["matrix"], ["copy"]),
        helper.make_node("Identity", ["copy"], ["copy of the copy"]),
        helper.make_node("MatMul", ["x", "matrix"], ["a"]),
        helper.make_node("MatMul", ["a", "copy"], ["b"]),
        helper.make_node("Identity", ["b"], ["value"]),
        helper.make_node("MatMul", ["value", "copy of the copy"], ["y"]),
        helper.make_node("Identity", ["matrix"], ["z"]),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in names] for names in ("x", "yz")
    )
    made = helper.make_graph(nodes, "copies", inputs, outputs, [matrix])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_products_read_a_constant_itself(tmp_path):
    path = graph_with_copies(tmp_path / "graph.onnx")
    feeds = {"x": np.eye(4, dtype=np.float32)}
    before = Session(path).run(feeds)
    graph = Graph(onnx.load(path))
    graph.drop_copies()
    onnx.save(graph.model(), path)
    nodes = onnx.load(path).graph.node
    assert [list(node.input) for node in nodes if node.op_type == "MatMul"] == [
        ["x", "matrix"], ["a", "matrix"], ["value", "matrix"],
    ]  # fmt: skip
    assert [node.output[0] for node in nodes if node.op_type == "Identity"] == ["value", "z"]
    for expected, got in zip(before, Session(path).run(feeds), strict=True):
        np.testing.assert_array_equal(got, expected)
