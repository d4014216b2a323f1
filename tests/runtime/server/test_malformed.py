"""Impossible requests: each has a status and the error body of its interface."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HUGGING_FACE, TEXT_EMBEDDINGS = "/models/sentiment", "/embed"
OPENAI, PROTOCOL = "/v1/completions", "/v2/models/sentiment/infer"
DEEP = b"[" * 100_000 + b"]" * 100_000
DIGITS = b"9" * 5000
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(sentiment, embeddings, tiny):
    """A server with a model for each interface, and a model without a limit of its length."""
    folders = {
        "sentiment": sentiment,
        "embeddings": embeddings,
        "gpt2": tiny.export("gpt2", "text-generation"),
        "t5": tiny.export("t5", "text2text-generation"),
        "mask": tiny.export("bert", "fill-mask"),
        "plain": tiny.export("bert", "feature-extraction"),
    }
    models = [f"{name}={folder}" for name, folder in folders.items()]
    with serving(*models, "--request-timeout-s=2", "--payload-limit=300000") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def error_message(got):
    """Check the form of an error, and return its message."""
    body = got.json()
    if str(got.url.path).startswith("/v1/"):
        assert set(body["error"]) == {"message", "type", "param", "code"}
        return body["error"]["message"]
    if str(got.url.path).startswith("/v2/"):
        assert set(body) == {"error"}
    else:
        assert set(body) == {"error", "error_type"}
    return body["error"]


def full(path, field):
    """Return a body of an interface with a value."""
    before, after = {
        HUGGING_FACE: (b'{"inputs": ', b"}"),
        TEXT_EMBEDDINGS: (b'{"inputs": ', b"}"),
        OPENAI: (b'{"model": "gpt2", "prompt": ', b"}"),
        PROTOCOL: (b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [', b"]}]}"),
    }[path]
    return before + field + after


@pytest.mark.parametrize("path", [HUGGING_FACE, TEXT_EMBEDDINGS, OPENAI, PROTOCOL])
@pytest.mark.parametrize(
    ("field", "message"),
    [
        (b"?", "malformed"),
        (b"NaN", "malformed"),
        (b"Infinity", "malformed"),
        (b"1e999", "out of range"),
        (DIGITS, "out of range"),
        (DEEP, "nested|recursion"),
        (b'"\xff\xfe"', "utf-8"),
        (b'"a\\ud800b"', "surrogate|truncated"),
    ],
    ids=["no value", "NaN", "infinity", "huge float", "huge integer", "deep", "no UTF-8", "surrogate"],
)
def test_invalid_json_is_refused(client, path, field, message):
    got = client.post(path, content=full(path, field), headers=JSON)
    assert got.status_code == 400, got.text
    assert any(part in error_message(got).lower() for part in message.split("|")), got.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embed", {"inputs": []}, 413),
        ("/embed", {"inputs": ""}, 413),
        ("/embed", {"inputs": [1]}, 400),
        ("/embed", {"inputs": "a", "prompt_name": 1}, 400),
        ("/embed", {"inputs": "a", "prompt_name": "x"}, 413),
        ("/embed", {"inputs": "a", "truncation_direction": "up"}, 400),
        ("/predict", {"inputs": [["a", "b", "c"]]}, 413),
        ("/decode", {"ids": [10**30]}, 413),
        ("/decode", {"ids": []}, 413),
        ("/rerank", {"query": "a", "texts": ["b"]}, 424),
        ("/models/nobody/embed", {"inputs": "a"}, 404),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "stop": [[]]}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "stop": ""}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "stop": "x" * 200_000}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "stop": ["a"] * 5}, 400),
        (
            "/v1/completions",
            {"model": "gpt2", "prompt": "a", "logit_bias": dict.fromkeys(map(str, range(2000)), 1)},
            400,
        ),
        ("/v1/completions", {"model": "gpt2", "prompt": [1] * 90_000}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": ["a"] * 33, "stream": True}, 413),
        ("/v1/completions", {"model": "gpt2", "prompt": ["a"] * 33}, 413),
        ("/v1/embeddings", {"model": "embeddings", "input": [1] * 90_000}, 400),
        ("/tokenize", {"inputs": "a" * 290_000}, 413),
        ("/decode", {"ids": [[1]] * 33}, 413),
        ("/embed", {"inputs": ["a"] * 33}, 413),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a"] * 33}}, 413),
        ("/predict", {"inputs": ["a"] * 3}, 413),
        ("/predict", {"inputs": [["a"]] * 33}, 413),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "n": 10**6}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "n": 100}, 413),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "max_tokens": 10**9}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "logit_bias": {"9" * 5000: 1}}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": "a", "logit_bias": {"\u0661": 1}}, 400),
        ("/v1/completions", {"model": "gpt2", "prompt": [2**31]}, 400),
        ("/v1/chat/completions", {"model": "gpt2", "messages": [{"role": ["a"], "content": 1}]}, 400),
        ("/v1/embeddings", {"model": "embeddings", "input": ["a"] * 100}, 413),
        ("/v1/embeddings", {"model": "../gpt2", "input": "a"}, 404),
        ("/models/gpt2", {"inputs": "a", "parameters": {"num_beams": 10**6}}, 413),
        ("/models/gpt2", {"inputs": "a", "parameters": {"num_return_sequences": 10**6, "do_sample": True}}, 413),
        ("/models/gpt2", {"inputs": ["a"] * 8, "parameters": {"num_beams": 8}}, 413),
        ("/models/gpt2", {"inputs": "a", "parameters": {"max_new_tokens": 10**9}}, 422),
        ("/models/gpt2", {"inputs": "a", "parameters": {"forced_eos_token_id": 10**6, "max_new_tokens": 1}}, 422),
        ("/models/gpt2", {"inputs": "a", "parameters": {"pad_token_id": 2**63}}, 422),
        ("/models/gpt2", {"inputs": "a", "parameters": {"prefix": 1}}, 422),
        ("/models/gpt2", {"inputs": "a", "parameters": {"stop_sequence": []}}, 422),
        ("/models/t5", {"inputs": "a", "parameters": {"max_new_tokens": 10**9, "min_new_tokens": 10**9}}, 408),
        ("/models/t5", {"inputs": "word " * 5000}, 422),
        ("/models/sentiment", {"inputs": "a", "parameters": {"top_k": -(10**30)}}, 422),
        ("/models/sentiment", {"inputs": {"text": 1}}, 422),
        ("/models/..%5C..%5Cx", {"inputs": "a"}, 404),
        ("/models/%2e%2e", {"inputs": "a"}, 404),
        ("/models/%00", {"inputs": "a"}, 404),
        ("/models/%ff%fe", {"inputs": "a"}, 404),
        ("/v1/nothing", {}, 404),
        ("/v2/models/%2e%2e/infer", {}, 404),
    ],
    ids=lambda value: str(value)[:60],
)
def test_impossible_requests_have_a_status(client, path, body, status):
    got = client.post(path, json=body)
    assert got.status_code == status, got.text
    assert error_message(got)


TEXT = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [2]}, "shape"),
        ({"shape": [-1]}, "shape"),
        ({"shape": [2**62, 4]}, "shape"),
        ({"shape": [10**30]}, "shape"),
        ({"shape": [2**63 - 1] * 14_000}, "shape"),
        ({"shape": "1"}, "shape"),
        ({"datatype": "FP32"}, "FP32"),
        ({"datatype": 1}, "datatype"),
        ({"data": [1]}, "not a text"),
        ({"data": {"a": 1}}, "data"),
        ({"data": None}, "shape"),
        ({"parameters": {"binary_data_size": -1}}, "binary_data_size=-1"),
        ({"parameters": {"binary_data_size": 10**30}}, "bytes are left"),
        ({"parameters": {"binary_data_size": True}}, "binary_data_size=True"),
        ({"name": "../text"}, "no input"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_inconsistent_tensors_are_refused(client, change, message):
    got = client.post(PROTOCOL, json={"inputs": [{**TEXT, **change}]})
    assert (got.status_code, message in error_message(got)) == (400, True), got.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (HUGGING_FACE, '{"inputs": "a", "parameters": {"top_k": NUMBER}}'),
        (HUGGING_FACE, '{"inputs": "a", "parameters": {"x": [{"y": NUMBER}]}}'),
        (OPENAI, '{"model": "gpt2", "prompt": "a", "temperature": NUMBER}'),
        (OPENAI, '{"model": "gpt2", "prompt": "a", "max_tokens": NUMBER}'),
        (OPENAI, '{"model": "gpt2", "prompt": "a", "seed": NUMBER}'),
        (OPENAI, '{"model": "gpt2", "prompt": "a", "logit_bias": {"1": NUMBER}}'),
        (OPENAI, '{"model": "gpt2", "prompt": [NUMBER]}'),
        (TEXT_EMBEDDINGS, '{"inputs": NUMBER}'),
        ("/decode", '{"ids": [NUMBER]}'),
        (PROTOCOL, '{"inputs": [], "parameters": {"top_k": NUMBER}}'),
        (PROTOCOL, '{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [NUMBER], "data": ["a"]}]}'),
    ],
)
def test_a_number_of_400_digits_is_refused(client, path, body):
    for number in ("1" + "0" * 400, "-1" + "0" * 400):
        got = client.post(path, content=body.replace("NUMBER", number), headers=JSON)
        assert got.status_code == 400, got.text
        assert "digits" in error_message(got)
    as_text = client.post(path, content=body.replace("NUMBER", f'"1{"0" * 400}"'), headers=JSON)
    assert as_text.status_code < 500, as_text.text


def test_an_error_quotes_no_more_than_a_part_of_a_value(client):
    got = client.post(HUGGING_FACE, json={"inputs": "a", "parameters": {"function_to_apply": ["\x00" * 20_000]}})
    assert got.status_code == 422
    assert len(error_message(got)) < 5000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/models/mask", {"inputs": "no mask"}),
        ("/v1/embeddings", {"model": "plain", "input": "a"}),
        ("/models/plain", {"inputs": "a", "parameters": {"pooling": "auto"}}),
        ("/models/plain", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
    ],
)
def test_an_error_names_the_model_and_no_path_of_the_server(client, tiny, path, body):
    got = client.post(path, json=body)
    assert 400 <= got.status_code < 500
    assert str(tiny.export("bert", "fill-mask").parent) not in got.text


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5000, "²", "1.0"])
def test_an_invalid_length_of_the_json_is_refused(client, length):
    header = {b"Inference-Header-Content-Length": length.encode()}
    got = client.post(PROTOCOL, content=json.dumps({"inputs": [TEXT]}).encode(), headers=header)
    assert (got.status_code, "Inference-Header-Content-Length" in error_message(got)) == (400, True)


@pytest.mark.parametrize("path", [HUGGING_FACE, TEXT_EMBEDDINGS, OPENAI, PROTOCOL])
def test_a_body_that_is_too_large_is_refused(client, path):
    got = client.post(path, content=full(path, b'"' + b"a" * 400_000 + b'"'), headers=JSON)
    assert (got.status_code, "300000" in error_message(got)) == (413, True)


@pytest.mark.parametrize("path", [HUGGING_FACE, TEXT_EMBEDDINGS, OPENAI, PROTOCOL])
def test_an_impossible_method_is_refused(client, path):
    got = client.delete(path)
    assert (got.status_code, "DELETE" in error_message(got), set(got.headers["allow"].split(", "))) == (
        405,
        True,
        {"POST", "OPTIONS"},
    )


def raw(server, head, body=b'{"inputs": "a"}'):
    """Send bytes, and return the status."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(
            b"POST /models/sentiment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head + b"\r\n" + body
        )
        return int(connection.recv(4096).split(b" ")[1])


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"Content-Length: 5\r\n", b'{"inp', 400),
        (b"Content-Length: 500\r\n", b'{"inputs": "a"}', 408),
        (b"Content-Length: -5\r\n", b"", 400),
        (b"Content-Length: " + DIGITS + b"\r\n", b"", 400),
        (b"Content-Length: 9999999999\r\n", b"", 413),
        (b"Content-Length: 15\r\nContent-Length: 16\r\n", b'{"inputs": "a"}', 400),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\nfoo", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"zz\r\nfoo", 400),
        (b"X-Broken: \xff\xfe\r\nContent-Length: 15\r\n", b'{"inputs": "a"}', 200),
        (b"Content-Type: \xff\r\nContent-Length: 15\r\n", b'{"inputs": "a"}', 415),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_invalid_bytes_have_a_status(server, head, body, status):
    assert raw(server, head, body) == status


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OPTIONS = ["top_k", "function_to_apply", "windows", "truncation", "max_length", "padding", "truncation_side"]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=VALUES | st.just("a film"), options=st.dictionaries(st.sampled_from(OPTIONS), VALUES, max_size=2))
def test_no_value_makes_the_server_fail(client, inputs, options):
    got = client.post(HUGGING_FACE, json={"inputs": inputs, "parameters": options})
    assert got.status_code in {200, 400, 413, 422}, got.text


def test_warnings_about_a_request_are_not_logged(server, client):
    got = client.post("/models/mask", json={"inputs": "a [MASK] film", "parameters": {"targets": ["unheardofsecret"]}})
    assert got.status_code == 200
    assert "unheard" not in "".join(server.errors)


def test_a_failed_stream_ends_with_an_error(client):
    options = {"max_new_tokens": 2, "forced_eos_token_id": 10**6, "do_sample": False}
    got = client.post("/models/gpt2", json={"inputs": "a", "stream": True, "parameters": options})
    *_, last = (json.loads(line.removeprefix("data:")) for line in got.text.splitlines() if line)
    assert (last["error_type"], "1000000" in last["error"]) == ("invalid", True)
