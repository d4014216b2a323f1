"""The access log has one line for each request."""

import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving

SECRET = "a secret text"
LONG = {"inputs": SECRET, "parameters": {"min_new_tokens": 400, "max_new_tokens": 400, "num_beams": 8}}
FIELDS = {"time", "method", "path", "model", "status", "milliseconds", "request_bytes", "response_bytes"}


@pytest.fixture(scope="module")
def server(tiny, sentiment):
    models = (
        f"gpt2={tiny.export('gpt2', 'text-generation')}",
        f"endless={tiny.export('qwen3', 'text-generation')}",
        f"sentiment={sentiment}",
    )
    with serving(*models, "--request-timeout-s=0.3") as server:
        yield server


def line_after(server, ask):
    """Return the entry of a request."""
    before = len(server.errors)
    ask()
    deadline = time.monotonic() + 10
    while len(server.errors) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (entry,) = map(json.loads, server.errors[before:])
    return entry


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/models/sentiment", {"inputs": SECRET}, ("/models/{name}", "sentiment", 200)),
        ("POST", "/models/sentiment", {"inputs": {SECRET: 1}}, ("/models/{name}", "sentiment", 422)),
        ("POST", "/models/secret", {"inputs": SECRET}, ("/models/{name}", None, 404)),
        ("POST", "/secret", {"inputs": SECRET}, (None, None, 404)),
        ("PUT", "/models/sentiment", {"inputs": SECRET}, (None, None, 405)),
        ("GET", "/playground/secret", None, ("/playground/{name}", None, 404)),
        ("POST", "/models/gpt2", LONG, ("/models/{name}", "gpt2", 408)),
    ],
)
def test_each_response_has_a_line_with_sizes(server, method, path, body, expected):
    entry = line_after(server, lambda: httpx.request(method, server.url + path, json=body, timeout=20))
    assert entry.keys() == FIELDS
    assert (entry["method"], entry["path"], entry["model"], entry["status"]) == (method, *expected)
    assert entry["response_bytes"] > 0
    assert (entry["request_bytes"] > 0) is (expected[0] == "/models/{name}")
    assert "secret" not in json.dumps(entry)


def test_a_stream_that_takes_too_long_ends_with_an_error(server):
    body = {"inputs": "a", "stream": True, "parameters": {"min_new_tokens": 10**5, "max_new_tokens": 10**5}}
    answers = []
    entry = line_after(
        server, lambda: answers.append(httpx.post(f"{server.url}/models/endless", json=body, timeout=20))
    )
    assert (entry["model"], entry["status"]) == ("endless", 200)
    *pieces, last = answers[0].text.strip().split("\n\n")
    assert len(pieces) > 10
    assert "took longer than 0.3 s" in json.loads(last.removeprefix("data:"))["error"]
    assert not any("Traceback" in line for line in server.errors)


@pytest.mark.parametrize(("sent", "known"), [(1.0, 1.0), (0.5, 0.0)], ids=["whole", "half"])
def test_a_disconnected_client_has_a_line(server, sent, known):
    address, content = urlsplit(server.url), json.dumps(LONG).encode()

    def leave():
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            head = "POST /models/gpt2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(content)}\r\n\r\n"
            connection.sendall(head.encode() + content[: int(sent * len(content))])

    entry = line_after(server, leave)
    assert entry.keys() == FIELDS
    assert (entry["path"], entry["status"], entry["response_bytes"]) == ("/models/{name}", 499, 0)
    assert entry["request_bytes"] == known * len(content)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_bodies_are_logged_with_log_inputs(sentiment, log_format):
    with serving(f"sentiment={sentiment}", "--log-inputs", f"--log-format={log_format}") as server:
        httpx.post(f"{server.url}/models/sentiment", json={"inputs": SECRET})
        server.stop()
    (line,) = (line for line in server.errors if "POST" in line)
    assert SECRET in (json.loads(line)["body"] if log_format == "json" else line)


def test_all_prompts_of_a_stream_share_the_time_of_their_request(server):
    body = {"model": "endless", "prompt": ["a"] * 30, "max_tokens": 10**5, "stream": True, "logit_bias": {"0": -100}}
    begin = time.monotonic()
    got = httpx.post(f"{server.url}/v1/completions", json=body, timeout=30)
    assert time.monotonic() - begin < 10
    assert (
        "took longer than 0.3 s"
        in json.loads(got.text.strip().split("\n\n")[-1].removeprefix("data:"))["error"]["message"]
    )


def test_a_client_that_leaves_a_stream_causes_no_traceback(server):
    address = urlsplit(server.url)
    for path, body in (
        ("/v1/completions", {"model": "endless", "prompt": "a", "max_tokens": 10**5, "stream": True}),
        ("/models/endless", {"inputs": "a", "stream": True, "parameters": {"max_new_tokens": 10**5}}),
    ):
        content = json.dumps(body)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        for _ in range(5):
            with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
                connection.sendall((head + content).encode())
                assert connection.recv(100)
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert not any("Traceback" in line for line in server.errors)
