"""What a body may be: its type, its encoding, and its size together with the bodies of other requests."""

import gzip
import json
import socket
import time
import zlib
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving

from torchless.server.exceptions import MediaTypeError
from torchless.server.request_body import check_head

PATH = "/models/sentiment"
BODY = json.dumps({"inputs": "A film of quiet power."}).encode()
JSON = {"Content-Type": "application/json"}
LIMIT, TIMEOUT_S = 300_000, 4


@pytest.fixture(scope="module")
def server(sentiment):
    flags = (f"--payload-limit={LIMIT}", "--max-buffered-bytes=1000000", f"--request-timeout-s={TIMEOUT_S}")
    with serving(f"sentiment={sentiment}", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        (None, 415),
        ("", 415),
        ("text/plain", 415),
        ("text/plain; charset=application/json", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=application/json", 415),
        ("application/octet-stream", 415),
        ("application/jsonp", 415),
    ],
)
def test_a_body_is_declared_as_json(client, kind, status):
    got = client.post(PATH, content=BODY, headers={} if kind is None else {"Content-Type": kind})
    assert got.status_code == status, got.text
    if status == 415:
        assert "Content-Type: application/json" in got.json()["error"]
        assert got.json()["error_type"] == "media_type"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"content-type": "application/octet-stream"}, True),
        ({"content-type": "application/octet-stream", "origin": "https://a.b"}, True),  # a preflight asked before
        ({"origin": "https://a.b"}, False),
        ({"origin": "null"}, False),
        ({"content-type": "text/plain"}, False),
    ],
)
def test_a_binary_body_has_its_type_or_comes_from_no_browser(headers, allowed):
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    with ExitStack() if allowed else pytest.raises(MediaTypeError):
        check_head(raw, payload_limit=1, allows_binary=True)
    with pytest.raises(MediaTypeError):
        check_head(raw, payload_limit=1, allows_binary=False)


@pytest.mark.parametrize(
    ("encoding", "content", "status", "message"),
    [
        ("gzip", gzip.compress(BODY), 200, ""),
        ("GZIP", gzip.compress(BODY), 200, ""),
        ("x-gzip", gzip.compress(BODY), 200, ""),
        ("deflate", zlib.compress(BODY), 200, ""),
        ("identity", BODY, 200, ""),
        ("gzip", BODY, 400, "neither gzip nor zlib"),
        ("gzip", gzip.compress(BODY)[:-4], 400, "single whole"),
        ("gzip", gzip.compress(BODY) * 2, 400, "single whole"),
        ("gzip", gzip.compress(b" " * 100_000_000), 413, "--payload-limit"),
        ("br", BODY, 415, "gzip or deflate"),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415, "gzip or deflate"),
    ],
    ids=lambda value: "body" if isinstance(value, bytes) else str(value),
)
def test_an_encoded_body_is_decoded_up_to_the_limit(client, encoding, content, status, message):
    got = client.post(PATH, content=content, headers={**JSON, "Content-Encoding": encoding})
    assert (got.status_code, message in got.text) == (status, True), got.text


def test_slow_and_large_bodies_keep_no_small_request_out(server, client):
    address = urlsplit(server.url)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {LIMIT}\r\n\r\n"
    part = head.encode() + b" " * (LIMIT - 1)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((address.hostname, address.port))) for _ in range(12)
        ]
        for connection in connections:
            connection.settimeout(20)
            connection.sendall(part)
        answers = [client.post(PATH, content=BODY, headers=JSON) for _ in range(3)]
        responses = [connection.recv(4096) for connection in connections]
    assert [answer.status_code for answer in answers] == [200] * 3
    refused = [response for response in responses if b" 429 " in response]
    assert 4 <= len(refused) < 12
    assert all(b"retry-after: 1" in response and b"--max-buffered-bytes" in response for response in refused)
    assert all(b" 408 " in response for response in responses if response not in refused)
    deadline = time.monotonic() + 20
    while (got := client.post(PATH, content=BODY.ljust(LIMIT), headers=JSON)).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert got.status_code == 200


@pytest.mark.parametrize(
    ("kind", "length", "status"),
    [("text/plain", 200_000, 415), ("application/json", 2_000_000, 413)],
)
def test_a_client_that_closes_gets_the_response_to_a_refused_body(server, kind, length, status):
    address = urlsplit(server.url)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(head.encode())
        time.sleep(0.2)
        connection.sendall(b" " * length)
        assert f" {status} ".encode() in connection.recv(4096)


def test_a_body_in_small_chunks_takes_no_more_memory(server, client):
    got = client.post(PATH, content=(b" " for _ in range(3000)), headers=JSON)
    assert got.status_code == 400
    assert (
        client.post(PATH, content=(BODY[index : index + 1] for index in range(len(BODY))), headers=JSON).status_code
        == 200
    )
