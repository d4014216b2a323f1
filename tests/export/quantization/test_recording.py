import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from torchless_export.quantization.recording import Recorder, Rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("rows_per_run", [1, 2, 500])
def test_recorded_rows_are_the_graphs_values(tmp_path, rows_per_run):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["inside"]), helper.make_node("Abs", ["inside"], ["y"])]
    matrix = RNG.standard_normal((4, 6)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(matrix, "w")],
    )
    path = tmp_path / "a.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    feeds = [{"x": RNG.standard_normal((rows, 4)).astype(np.float32)} for rows in (1, 5)]
    (tmp_path / "rows").mkdir()
    seen = Rows(tmp_path / "rows")
    recorder = Recorder(path, ["inside", "x", "y"], seen, rows_per_run=rows_per_run)
    for feed in feeds:
        (answer,) = recorder.run(feed)
        np.testing.assert_allclose(answer, np.abs(feed["x"] @ matrix), rtol=1e-4, atol=1e-5)
    assert seen.runs == 2
    each = [min(len(feed["x"]), rows_per_run) for feed in feeds]
    assert seen["inside"].shape == (sum(each), 6)
    np.testing.assert_allclose(seen["inside"], seen["x"] @ matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen["y"], np.abs(seen["inside"]))
    np.testing.assert_array_equal(seen["x"][0], feeds[0]["x"][0])
    if each[1] > 1:  # the last row of the text is recorded
        np.testing.assert_array_equal(seen["x"][-1], feeds[1]["x"][-1])
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.onnx", "rows"]
