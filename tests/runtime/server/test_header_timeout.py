"""Connections whose request does not come, or not whole."""

import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving

TIMEOUT_S = 1
HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(sentiment):
    with serving(f"sentiment={sentiment}", f"--request-timeout-s={TIMEOUT_S}") as server:
        yield server


def connected(server):
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=0.1)


def until_closed(connection, piece=b""):
    """Send a piece now and then until the server closes, for a while; return what it said, and how long it took."""
    said, begun = b"", time.monotonic()
    while time.monotonic() - begun < 10:
        try:
            connection.sendall(piece)
            received = connection.recv(4096)
        except TimeoutError:
            continue
        except ConnectionError:
            break
        if not received:
            break
        said += received
    return said, time.monotonic() - begun


@pytest.mark.parametrize(("begin", "piece"), [(b"", b""), (HEAD, b""), (HEAD + b"y: ", b"x"), (b"", b"\r\n")], ids=str)
def test_a_head_that_does_not_come(server, begin, piece):
    with connected(server) as connection:
        connection.sendall(begin)
        _, took_s = until_closed(connection, piece)
    assert TIMEOUT_S * 0.9 < took_s < TIMEOUT_S + 3


def test_a_second_head_that_does_not_come(server):
    with connected(server) as connection:
        connection.sendall(HEAD + b"\r\n")
        said, took_s = until_closed(connection, b"\r\n")  # a server may skip empty lines
    assert said.startswith(b"HTTP/1.1 200")
    assert TIMEOUT_S * 0.9 < took_s < TIMEOUT_S + 3


def test_a_head_without_end(server):
    with connected(server) as connection:
        connection.sendall(HEAD)
        _, took_s = until_closed(connection, b"x: " + b"y" * 10_000 + b"\r\n")
    assert took_s < TIMEOUT_S


def test_one_request_after_the_other_has_its_own_time(server):
    with connected(server) as connection, connection.makefile("rb") as received:
        connection.settimeout(5)
        for _ in range(4):
            connection.sendall(HEAD)
            time.sleep(TIMEOUT_S * 0.4)
            connection.sendall(b"\r\n")
            assert received.readline() == b"HTTP/1.1 200 OK\r\n"
            while received.readline() != b"\r\n":
                pass
            assert received.read(15) == b'{"status":"ok"}'


def test_requests_that_come_at_once_are_all_answered(server):
    with connected(server) as connection:
        connection.sendall((HEAD + b"\r\n") * 5)
        said, _ = until_closed(connection)
    assert said.count(b"HTTP/1.1 200") == 5


def test_idle_connections_stop_nobody(server):
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connected(server))
        assert httpx.post(f"{server.url}/models/sentiment", json={"inputs": "a"}, timeout=20).status_code == 200
