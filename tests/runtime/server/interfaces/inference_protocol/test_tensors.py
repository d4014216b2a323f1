import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchless.errors import InputError
from torchless.server.interfaces.inference_protocol.tensors import read_request, texts_of, write_response


def request(tensors, raw=b"", **fields):
    head = json.dumps({"inputs": tensors, **fields}).encode()
    return read_request(head + raw, str(len(head)) if raw else None)


def tensor(**changed):
    return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]} | changed


def packed(*texts):
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in texts)


@given(texts=st.lists(st.text(), max_size=4))
def test_texts_arrive_whole_as_json_and_as_bytes(texts):
    raw = packed(*texts)
    for parameters, data, behind in (({}, texts, b""), ({"binary_data_size": len(raw)}, None, raw)):
        read, rest = request([tensor(shape=[len(texts)], data=data, parameters=parameters)], behind)
        assert texts_of(read.inputs, rest) == {"text": texts}


def test_rows_and_columns():
    read, rest = request([tensor(shape=[2, 1], data=[["a"], ["b"]])])
    assert texts_of(read.inputs, rest) == {"text": ["a", "b"]}


@pytest.mark.parametrize(
    ("tensors", "raw", "message"),
    [
        ([tensor(datatype="FP32", data=[1.0])], b"", "datatype 'FP32'"),
        ([tensor(data=[1])], b"", "has the element 1, which is not a text"),
        ([tensor(shape=[2])], b"", r"shape \[2\] and 1 elements"),
        ([tensor(shape=[-1])], b"", r"shape \[-1\] and 1 elements"),
        ([tensor(), tensor()], b"", "given twice"),
        ([tensor()], b"more", "4 bytes behind the JSON"),
        ([tensor(parameters={"binary_data_size": 9})], packed("a"), "binary_data_size=9, and 5 bytes"),
        ([tensor(parameters={"binary_data_size": True})], packed("a"), "binary_data_size=True"),
        ([tensor(parameters={"binary_data_size": 4})], packed("abc")[:4], "end within an element"),
        ([tensor(parameters={"binary_data_size": 2})], packed("abc")[:2], "end within an element"),
        ([tensor(parameters={"binary_data_size": 5})], b"\1\0\0\0\xff", "not UTF-8"),
    ],
)
def test_invalid_tensors_are_refused(tensors, raw, message):
    read, rest = request(tensors, raw)
    with pytest.raises(InputError, match=message):
        texts_of(read.inputs, rest)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"inputs": 1}', b"\xff", b"[" * 100_000])
def test_invalid_requests_are_refused(body):
    with pytest.raises(InputError, match="cannot be read"):
        read_request(body, None)


@pytest.mark.parametrize("length", ["-1", "99", "1.5", "", "²"])
def test_an_invalid_length_is_refused(length):
    with pytest.raises(InputError, match="Inference-Header-Content-Length"):
        read_request(b"{}", length)


def test_a_response_with_json_and_bytes():
    tensors = {
        "label": np.array(["ä", ""], dtype=object),
        "score": np.array([[0.5], [1.5]], dtype=np.float32),
        "input": np.array([0, 1]),
    }
    body, json_length = write_response("m", tensors, request_id="7", binary={"label", "input"})
    head = json.loads(body[:json_length])
    assert head == {
        "model_name": "m",
        "id": "7",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},
            {"name": "score", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 1.5]},
            {"name": "input", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}},
        ],
    }
    assert body[json_length:] == packed("ä", "") + np.array([0, 1], dtype="<i8").tobytes()
    assert write_response("m", {}, request_id=None, binary=()) == (b'{"model_name":"m","outputs":[]}', None)
