import pytest

from torchless import CheckpointError, OptionError
from torchless.folder.layout import (
    check_graph_choice,
    data_files,
    find_graphs,
    is_library,
    leads_outside,
    missing_graph,
)


@pytest.mark.parametrize(
    ("files", "choice", "found"),
    [
        ({"onnx/model.onnx", "model.onnx"}, ("fp32",), "onnx/model.onnx"),
        ({"model.onnx"}, ("fp32",), "model.onnx"),
        ({"model_quantized.onnx"}, ("q8",), "model_quantized.onnx"),
        ({"model.onnx"}, ("q8",), None),
        ({"onnx/model_O2.onnx"}, ("fp32", "onnx/model_O2.onnx"), "onnx/model_O2.onnx"),
        ({"onnx/model_O2.onnx"}, ("fp32", "model_O2.onnx"), "onnx/model_O2.onnx"),
        ({"onnx/model_O2.onnx", "model_O2.onnx"}, ("fp32", "model_O2.onnx"), "model_O2.onnx"),
        ({"onnx/model.onnx"}, ("fp32", "model_O2.onnx"), None),
    ],
)
def test_where_a_graph_is(files, choice, found):
    assert find_graphs(files.__contains__, *choice) == ((found,) if found else ())


def test_what_there_is_instead():
    files = ["model.onnx", "onnx/model_int8.onnx", "onnx/model_O2.onnx", "config.json"]
    error = missing_graph("The folder 'x'", files, "q8", otherwise="make one.")
    assert isinstance(error, CheckpointError)
    assert error.problem == "The folder 'x' has no onnx/model_quantized.onnx, the graph of dtype 'q8'."
    assert error.hint == "It has dtype='fp32', dtype='int8', file_name='onnx/model_O2.onnx'."
    assert missing_graph("It", [], "q8", otherwise="make one.").hint == "It has no graph at all; make one."
    assert missing_graph("It", [], "fp32", "a.onnx", otherwise="").problem == "It has no a.onnx."


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/model.onnx", "onnx/../../model.onnx", "C:/model.onnx", "..\\model.onnx", "model.bin", ""],
)
def test_names_that_are_no_graph_of_the_folder(name):
    with pytest.raises(OptionError, match="does not name a graph in a folder"):
        check_graph_choice("fp32", name)


def test_a_dtype_or_a_name():
    check_graph_choice("q8")
    check_graph_choice("fp32", "model_O2.onnx")
    with pytest.raises(OptionError, match="each choose a graph"):
        check_graph_choice("q8", "model_O2.onnx")


def test_weights_beside_a_graph():
    assert data_files("It", "onnx/model.onnx", ["weights.pb", "./data/0"]) == ["onnx/weights.pb", "onnx/data/0"]
    assert data_files("It", "model.onnx", ["weights.pb"]) == ["weights.pb"]
    assert data_files("It", "model.onnx", []) == []


@pytest.mark.parametrize(
    ("location", "what"),
    [
        ("../weights.pb", "a file outside"),
        ("/etc/passwd", "a file outside"),
        ("C:\\weights", "a file outside"),
        ("data/../../weights", "a file outside"),
        ("ops.so", "native code"),
        ("data/ops.so.1", "native code"),
    ],
)
def test_weights_that_are_not_in_the_folder(location, what):
    with pytest.raises(CheckpointError, match=f"It has a graph, onnx/model.onnx, whose weights are in {what}"):
        data_files("It", "onnx/model.onnx", [location])


@pytest.mark.parametrize(
    ("name", "native"), [("ops.so", True), ("ops.so.1", True), ("ops.dll", True), ("a.dylib", True), ("a.onnx", False)]
)
def test_native_code(name, native):
    assert is_library(name) is native


@pytest.mark.parametrize(
    ("name", "outside"), [("onnx/model.onnx", False), ("a/../b", True), ("/a", True), ("\\\\host\\a", True)]
)
def test_names_that_lead_outside(name, outside):
    assert leads_outside(name) is outside


@pytest.mark.parametrize(
    ("files", "dtype", "found"),
    [
        ({"onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"}, "fp32", "onnx/"),
        ({"encoder_model.onnx", "decoder_model_merged.onnx", "decoder_model.onnx"}, "fp32", ""),
        ({"onnx/encoder_model.onnx", "decoder_model_merged.onnx"}, "fp32", None),
        ({"onnx/encoder_model.onnx", "onnx/decoder_model.onnx"}, "fp32", None),
        ({"onnx/encoder_model_quantized.onnx", "onnx/decoder_model_merged.onnx"}, "q8", None),
    ],
)
def test_an_encoder_decoder_has_two_graphs(files, dtype, found):
    expected = () if found is None else (f"{found}encoder_model.onnx", f"{found}decoder_model_merged.onnx")
    assert find_graphs(files.__contains__, dtype) == expected


def test_which_of_two_graphs_is_missing():
    files = ["onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx", "onnx/encoder_model_q4.onnx"]
    error = missing_graph("It", files, "q4", otherwise="")
    assert error.problem == "It has no onnx/decoder_model_merged_q4.onnx, the graph of dtype 'q4'."
    assert error.hint == "It has dtype='fp32', file_name='onnx/encoder_model_q4.onnx'."
    assert missing_graph("It", files, "q8", otherwise="").problem.startswith(
        "It has no onnx/encoder_model_quantized.onnx,"
    )
