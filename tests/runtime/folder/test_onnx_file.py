import contextlib

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from torchless.folder.onnx_file import external_files


def tensor_in(location, name="w"):
    """A tensor that is in another file; with no location, in the graph."""
    if location is None:
        return helper.make_tensor(name, TensorProto.FLOAT, [300], [0.5] * 300)
    tensor = TensorProto(name=name, dims=[300], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "1200"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse_in(location):
    return onnx.SparseTensorProto(values=tensor_in(location), indices=tensor_in(f"{location}.indices"), dims=[300])


def graph_of(*nodes, **parts):
    return helper.make_graph(list(nodes), "g", [], [], **parts)


def node_with(name, value):
    node = helper.make_node("Custom", [], ["y"], doc_string="location")
    attribute = node.attribute.add(name=name)
    field = {onnx.TensorProto: ("t", "TENSOR"), onnx.GraphProto: ("g", "GRAPH")}.get(
        type(value), ("sparse_tensor", "SPARSE_TENSOR")
    )
    getattr(attribute, field[0]).CopyFrom(value)
    attribute.type = getattr(onnx.AttributeProto, field[1])
    return node


def written(tmp_path, graph, **options):
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, **options).SerializeToString())
    return path


def test_a_graph_that_holds_all_its_weights(tmp_path):
    assert external_files(written(tmp_path, graph_of(initializer=[tensor_in(None)]))) == []


def test_each_file_once(tmp_path):
    names = ["weights.pb", "data/0", "weights.pb"]
    tensors = [tensor_in(location, f"w{index}") for index, location in enumerate([*names, None])]
    assert external_files(written(tmp_path, graph_of(initializer=tensors))) == ["data/0", "weights.pb"]


@pytest.mark.parametrize("number", [1, 40])
def test_branches_constants_and_sparse_tensors(tmp_path, number):
    branch = graph_of(node_with("value", tensor_in("constant")), initializer=[tensor_in("branch")] * number)
    inner = graph_of(node_with("then", branch), initializer=[tensor_in("middle")])
    graph = graph_of(
        node_with("then", inner), node_with("sparse", sparse_in("s")), sparse_initializer=[sparse_in("initial")]
    )
    function = helper.make_function("d", "F", [], ["y"], [node_with("value", tensor_in("function"))], [])
    assert external_files(written(tmp_path, graph, functions=[function])) == sorted(
        ["branch", "constant", "function", "initial", "initial.indices", "middle", "s", "s.indices"]
    )


def test_graphs_that_are_nested_deeply(tmp_path):
    graph = graph_of(initializer=[tensor_in("w")])
    for _ in range(25):
        graph = graph_of(node_with("then", graph))
    assert external_files(written(tmp_path, graph)) == ["w"]


@given(content=st.binary(min_size=1, max_size=200))
def test_no_bytes_are_anything_but_a_graph_or_a_value_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        external_files(path)


def test_an_empty_file_is_a_value_error(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        external_files(tmp_path / "model.onnx")
