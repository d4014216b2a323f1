"""Connections without a request, or with an incomplete request."""

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
    """Send a piece repeatedly until the server closes the connection; return the response and the seconds."""
    response, begin = b"", time.monotonic()
    while time.monotonic() - begin < 10:
        try:
            connection.sendall(piece)
            received = connection.recv(4096)
        except TimeoutError:
            continue
        except ConnectionError:
            break
        if not received:
            break
        response += received
    return response, time.monotonic() - begin


@pytest.mark.parametrize(("begin", "piece"), [(b"", b""), (HEAD, b""), (HEAD + b"y: ", b"x"), (b"", b"\r\n")], ids=str)
def test_a_late_head_closes_the_connection(server, begin, piece):
    with connected(server) as connection:
        connection.sendall(begin)
        _, took_s = until_closed(connection, piece)
    assert TIMEOUT_S * 0.9 < took_s < TIMEOUT_S + 3


def test_a_late_second_head_closes_the_connection(server):
    with connected(server) as connection:
        connection.sendall(HEAD + b"\r\n")
        response, took_s = until_closed(connection, b"\r\n")  # a server may skip empty lines
    assert response.startswith(b"HTTP/1.1 200")
    assert TIMEOUT_S * 0.9 < took_s < TIMEOUT_S + 3


def test_a_head_that_is_too_large_closes_the_connection(server):
    with connected(server) as connection:
        connection.sendall(HEAD)
        _, took_s = until_closed(connection, b"x: " + b"y" * 10_000 + b"\r\n")
    assert took_s < TIMEOUT_S


def test_each_request_of_a_connection_has_the_whole_time(server):
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


def test_pipelined_requests_are_all_answered(server):
    with connected(server) as connection:
        connection.sendall((HEAD + b"\r\n") * 5)
        response, _ = until_closed(connection)
    assert response.count(b"HTTP/1.1 200") == 5


def test_idle_connections_do_not_block_requests(server):
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connected(server))
        assert httpx.post(f"{server.url}/models/sentiment", json={"inputs": "a"}, timeout=20).status_code == 200
