import contextlib

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from torchless.ort.mapped_graph import mapped_graph
from torchless.ort.session import Session


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def saved(path, tensors, **options):
    """Save a graph that adds tensors of shape (n,), and return their sum."""
    names = list(tensors)
    graph = helper.make_graph(
        [helper.make_node("Sum", ["x", *names], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
        doc_string="ümlaut" * 50,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"key": "value"})
    onnx.save(model, path, **options)
    return sum(tensors.values())


def test_only_the_location_of_large_weights_changes(tmp_path, rng):
    path = tmp_path / "model.onnx"
    saved(path, {"large": rng.random(300).astype(np.float32), "small": rng.random(300).astype(np.float32)[:1]})
    mapped, original = onnx.load_from_string(mapped_graph(path)), onnx.load(path)
    large, small = mapped.graph.initializer
    assert small == original.graph.initializer[1]
    assert not large.HasField("raw_data")
    where = {entry.key: entry.value for entry in large.external_data}
    assert where["location"] == "model.onnx"
    assert where["length"] == str(300 * 4)

    external_data_helper.load_external_data_for_model(mapped, str(tmp_path))
    for tensor in mapped.graph.initializer:
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    assert mapped == original


def test_a_session_answers_as_from_the_whole_file(sentiment, rng):
    graph = sentiment / "onnx/model.onnx"
    ids = rng.integers(1000, 20000, (2, 20))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    whole = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    feeds = {node.name: feeds[node.name] for node in whole.get_inputs()}
    np.testing.assert_allclose(Session(graph).run(feeds)[0], whole.run(None, feeds)[0], atol=1e-6)


def test_weights_beside_the_file_stay_there(tmp_path, rng):
    total = saved(
        tmp_path / "model.onnx",
        {"a": rng.random(500).astype(np.float32), "b": rng.random(500).astype(np.float32)},
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    (sums,) = Session(tmp_path / "model.onnx").run({"x": np.zeros(500, np.float32)})
    np.testing.assert_allclose(sums, total, rtol=1e-6)


def test_a_link_leads_to_the_weights(tmp_path, rng):
    (tmp_path / "blobs").mkdir()
    total = saved(tmp_path / "blobs/3f2a", {"a": rng.random(500).astype(np.float32)})
    (tmp_path / "model.onnx").symlink_to("blobs/3f2a")
    (sums,) = Session(tmp_path / "model.onnx").run({"x": np.zeros(500, np.float32)})
    np.testing.assert_array_equal(sums, total)


def test_beside_a_link_too(tmp_path, rng):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    total = saved(
        tmp_path / "blobs/model.onnx",
        {"a": rng.random(500).astype(np.float32)},
        save_as_external_data=True,
        location="model.onnx_data",
        size_threshold=0,
    )
    for name in ("model.onnx", "model.onnx_data"):
        (tmp_path / "blobs" / name).rename(tmp_path / "blobs" / f"3f2a-{name}")
        (tmp_path / "snapshot" / name).symlink_to(f"../blobs/3f2a-{name}")
    (sums,) = Session(tmp_path / "snapshot/model.onnx").run({"x": np.zeros(500, np.float32)})
    np.testing.assert_array_equal(sums, total)


def test_values_in_a_field_of_their_type_stay(tmp_path):
    path = tmp_path / "model.onnx"
    tensor = helper.make_tensor("a", TensorProto.FLOAT, [400], np.arange(400, dtype=np.float32))
    saved(path, {})
    model = onnx.load(path)
    model.graph.node[0].input.append("a")
    model.graph.initializer.append(tensor)
    onnx.save(model, path)
    assert onnx.load_from_string(mapped_graph(path)) == model


@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_give_a_graph_or_a_value_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        mapped_graph(path)


@pytest.mark.parametrize("cut", [10, 1000, -1])
def test_a_cut_file_is_a_value_error(cut, tmp_path, rng):
    path = tmp_path / "model.onnx"
    saved(path, {"a": rng.random(500).astype(np.float32)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="byte"):
        mapped_graph(path)
