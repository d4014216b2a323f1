import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless.ort.session import Session
from torchless_export.graph.branches import has_branches, merge, rebuild_branches

SHARED, PRIVATE = np.arange(100, dtype=np.float32).reshape(10, 10), np.ones((10, 10), np.float32)


def written(path, nodes, inputs, outputs, weights):
    """A small graph of floats, (rows, 10)."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 10]) for name in names]
        for names in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "graph", *values, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


@pytest.fixture
def pair(tmp_path):
    """Two graphs that share a weight under two names, and have different weights of the same name."""
    first = written(
        tmp_path / "first.onnx",
        [("MatMul", ["x", "weight"], ["out"]), ("MatMul", ["encoded", "private"], ["present"])],
        ["x", "encoded"], ["out", "present"], {"weight": SHARED, "private": PRIVATE},
    )  # fmt: skip
    later = written(
        tmp_path / "later.onnx",
        [("MatMul", ["x", "other"], ["product"]), ("MatMul", ["past", "private"], ["added"]), ("Add", ["product", "added"], ["sum"]),
         ("Add", ["sum", "small"], ["out"])],
        ["x", "past"], ["out"], {"other": SHARED, "private": 2 * PRIVATE, "small": np.float32([1])},
    )  # fmt: skip
    return first, later


def answers(path, feeds):
    session = Session(path)
    return dict(zip(session.outputs, session.run({name: feeds[name] for name in session.inputs}), strict=True))


def test_each_branch_answers_as_its_graph(pair, tmp_path):
    merged = tmp_path / "merged.onnx"
    merge(*pair, merged)
    onnx.checker.check_model(merged)
    feeds = {name: np.full((3, 10), index, np.float32) for index, name in enumerate(("x", "encoded", "past"), start=1)}
    without, with_past = (answers(merged, {**feeds, "use_cache_branch": np.array([past])}) for past in (False, True))
    for name, array in answers(pair[0], feeds).items():
        np.testing.assert_array_equal(without[name], array)
    np.testing.assert_array_equal(with_past["out"], answers(pair[1], feeds)["out"])
    assert with_past["present"].shape == (0, 10)


def test_a_shared_weight_is_stored_once(pair, tmp_path):
    merge(*pair, tmp_path / "merged.onnx")
    graph = onnx.load(tmp_path / "merged.onnx").graph
    assert {item.name: tuple(item.dims) for item in graph.initializer} == {
        "weight": (10, 10), "private": (10, 10), "private.with_past": (10, 10),
    }  # fmt: skip
    assert [[item.name for item in branch.g.initializer] for branch in graph.node[0].attribute] in (
        [["small"], []],
        [[], ["small"]],
    )


def test_a_rebuilt_branch_is_the_graph_that_was_merged(pair, tmp_path):
    merge(*pair, tmp_path / "merged.onnx")
    seen = []

    def make(source, target):
        model = onnx.load(source)
        seen.append({item.name for item in model.graph.input} | {item.name for item in model.graph.output})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, target)

    assert not has_branches(pair[0])
    assert has_branches(tmp_path / "merged.onnx")
    rebuild_branches(tmp_path / "merged.onnx", tmp_path / "again.onnx", make)
    assert seen == [{"x", "encoded", "out", "present"}, {"x", "past", "out"}]
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "merged.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.onnx", "first.onnx", "later.onnx", "merged.onnx"]
