import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving

from torchless import pipeline
from torchless.server.app import create_app
from torchless.server.settings import Settings

TEXT = "I hate this so much!"
KEY = "a key"
JSON = "Content-Type: application/json\r\n"
LONG = "word " * 400


@pytest.fixture(scope="module")
def strict(sentiment):
    """A server with a key and tight limits."""
    flags = ["--max-client-batch-size=2", "--payload-limit=4000", "--max-input-length=16", "--request-timeout-s=2"]
    with serving(f"sentiment={sentiment}", *flags, "--cors-allow-origin=https://a.b", TORCHLESS_API_KEY=KEY) as server:
        yield server


@pytest.fixture(scope="module")
def client(strict):
    with httpx.Client(base_url=strict.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=20) as client:
        yield client


def body(inputs=TEXT, **parameters):
    return {"inputs": inputs, "parameters": parameters}


def test_an_answer_equals_the_answer_of_the_pipeline(server, sentiment):
    got = httpx.post(f"{server.url}/models/sentiment", json=body([TEXT, "A film."], top_k=None), timeout=20)
    assert got.status_code == 200
    expected = pipeline("text-classification", sentiment)([TEXT, "A film."], top_k=None)
    for result, expected_result in zip(got.json(), expected, strict=True):
        assert [item["label"] for item in result] == [item["label"] for item in expected_result]
        scores = [item["score"] for item in expected_result]
        assert [item["score"] for item in result] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize(
    ("path", "content", "truncated"),
    [
        ("/models/sentiment", body(TEXT, truncation=True, max_length=4), "1"),
        ("/models/sentiment", body([2 * LONG, TEXT, 2 * LONG], truncation=True), "2"),
        ("/models/sentiment", body([TEXT, "A film."], truncation=True), None),
        ("/predict", {"inputs": [[2 * LONG], [TEXT]], "truncate": True}, "1"),
        ("/predict", {"inputs": TEXT, "truncate": True}, None),
    ],
)
def test_a_header_counts_truncated_texts(server, path, content, truncated):
    answer = httpx.post(server.url + path, json=content, timeout=20)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get("x-torchless-truncated") == truncated


def test_concurrent_requests_have_different_options(server):
    def ask(index):
        return httpx.post(f"{server.url}/models/sentiment", json=body([TEXT], top_k=1 + index % 2), timeout=20).json()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(32)))
    assert [len(answer[0]) for answer in answers] == [1, 2] * 16


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_probes_need_no_key(strict, path):
    assert httpx.get(strict.url + path).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ready", "/v2/health/live", "/v2/health/ready", "/docs", "/"])
def test_head_has_the_head_of_get(strict, path):
    head, get = httpx.head(strict.url + path), httpx.get(strict.url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_of_a_key_has_any_case(strict, scheme):
    got = httpx.post(f"{strict.url}/models/sentiment", json=body(), headers={"Authorization": f"{scheme} {KEY}"})
    assert got.status_code == 200


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", KEY, f"Basic {KEY}", f"Bearer{KEY}", "Bearer schlüssel".encode()]
)
def test_a_wrong_key_is_refused(strict, header):
    headers = {} if header is None else {"Authorization": header}
    got = httpx.post(f"{strict.url}/models/sentiment", json=body(), headers=headers)
    assert (got.status_code, got.json()["error_type"]) == (401, "access")
    assert got.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("path", "content", "status", "message"),
    [
        ("/models/sentiment", b'{"inputs": ', 400, "truncated"),
        ("/models/sentiment", b'{"inputs": NaN}', 400, "invalid"),
        ("/models/sentiment", b'{"inputs": "\xff\xfe"}', 400, "utf-8"),
        ("/models/sentiment", b"", 400, ""),
        ("/models/sentiment", b'["a"]', 400, "object"),
        ("/models/sentiment", b'{"parameters": {}}', 400, "inputs"),
        ("/models/sentiment", b'{"inputs": "a", "parameters": 3}', 400, "parameters"),
        ("/models/sentiment", b'{"inputs": ' + b"[" * 1900 + b"]" * 1900 + b"}", 400, "nested"),
        ("/models/sentiment", b'{"inputs": 3}', 422, "string"),
        ("/models/sentiment", json.dumps(body(top_k=-1)).encode(), 422, "top_k=-1"),
        ("/models/sentiment", json.dumps(body(topk=1)).encode(), 422, "top_k"),
        ("/models/sentiment", b'{"inputs": "a", "parameters": {"inputs": 1}}', 422, "inputs"),
        ("/models/sentiment", json.dumps(body("word " * 20)).encode(), 422, "22 tokens"),
        ("/models/sentiment", json.dumps(body([TEXT] * 3)).encode(), 413, "3 inputs"),
        ("/models/sentiment", json.dumps(body(LONG * 3)).encode(), 413, "4000"),
        ("/models/other", json.dumps(body()).encode(), 404, "sentiment"),
        ("/models/..%2f..%2fetc%2fpasswd", json.dumps(body()).encode(), 404, ""),
        ("/models/../../etc/passwd", json.dumps(body()).encode(), 404, ""),
        ("/nothing", b"{}", 404, ""),
    ],
)
def test_impossible_requests_have_a_status_and_a_message(client, path, content, status, message):
    got = client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert (got.status_code, message.lower() in got.json()["error"].lower()) == (status, True), got.text


def test_a_wrong_method_is_refused(client):
    got = client.get("/models/sentiment")
    assert (got.status_code, set(got.headers["allow"].split(", "))) == (405, {"OPTIONS", "POST"})
    assert "method GET" in got.json()["error"]


def test_a_body_without_a_length_has_a_limit_too(client):
    got = client.post(
        "/models/sentiment", content=(b"x" * 1000 for _ in range(6)), headers={"Content-Type": "application/json"}
    )
    assert (got.status_code, got.json()["error_type"]) == (413, "limit")


def test_a_slow_body_is_refused(strict):
    address = urlsplit(strict.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        head = (
            f"POST /models/sentiment HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            f"{JSON}Content-Length: 100\r\n\r\n"
        )
        connection.sendall(head.encode() + b'{"inputs"')
        assert b" 408 " in connection.recv(4096)


def test_the_server_answers_after_clients_have_disconnected(strict, client):
    address = urlsplit(strict.url)
    content = json.dumps(body()).encode()
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            head = f"POST /models/sentiment HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{JSON}"
            connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    assert client.post("/models/sentiment", json=body()).status_code == 200


def test_pages_of_an_allowed_origin_may_send_requests(client):
    sent = "authorization, content-type, x-stainless-arch, x-stainless-retry-count, openai-organization"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": sent}
    got = client.options("/models/sentiment", headers={"Origin": "https://a.b", **asks})
    assert got.status_code == 204
    assert got.headers["access-control-allow-origin"] == "https://a.b"
    assert set(sent.split(", ")) <= set(got.headers["access-control-allow-headers"].lower().split(", "))
    answer = client.post("/models/sentiment", json=body(), headers={"Origin": "https://a.b"})
    assert "X-Torchless-Truncated" in answer.headers["access-control-expose-headers"]
    assert client.options("/models/sentiment", headers={"Origin": "https://c.d", **asks}).status_code == 400
    assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": "https://c.d"}).headers


def test_metrics(client):
    client.post("/models/sentiment", json=body())
    client.post("/models/other", json=body())
    lines = client.get("/metrics").text
    for name in ("queue_seconds", "tokenise_seconds", "inference_seconds", "batch_tokens"):
        assert f'torchless_{name}_count{{model="sentiment"}}' in lines
    assert 'torchless_queue_rows{model="sentiment"} 0.0' in lines
    assert 'status_code="200"' in lines
    assert 'status_code="404"' in lines


def test_the_log_has_sizes_but_no_text(strict, client):
    content = json.dumps(body("a secret word")).encode()
    client.post("/models/sentiment", content=content, headers={"Content-Type": "application/json"})
    client.post("/models/sentiment", json=body("a secret word", top_k="secret"))
    deadline = time.monotonic() + 5
    while not any('"status":422' in line for line in strict.errors[-1:]) and time.monotonic() < deadline:
        time.sleep(0.01)
    answered = next(json.loads(line) for line in reversed(strict.errors) if '"status":200' in line and "POST" in line)
    assert (answered["model"], answered["request_bytes"]) == ("sentiment", len(content))
    assert answered["response_bytes"] > 0
    assert "secret" not in "".join(strict.errors)


def test_an_application_is_made_without_a_warning_before_its_models_are_loaded(tmp_path):
    assert create_app(Settings.load({"models": [f"quiet={tmp_path}"]}, {})).routes
