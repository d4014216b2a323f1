"""Connections without a request or with an incomplete one, offers of other protocols, and clients that do not read."""

import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from fixtures.server import serving

TIMEOUT_S, KEEP_ALIVE_S = 1, 3
HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"inputs": "a film"}'
POST = b"POST /models/sentiment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# As Java's client sends it.
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"


@pytest.fixture(scope="module")
def server(sentiment):
    with serving(
        f"sentiment={sentiment}", f"--request-timeout-s={TIMEOUT_S}", f"--keep-alive-timeout-s={KEEP_ALIVE_S}"
    ) as server:
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


def test_an_idle_connection_is_kept_as_long_as_the_setting_says(server):
    with connected(server) as connection:
        connection.sendall(HEAD + b"\r\n")
        response, took_s = until_closed(connection)
    assert response.startswith(b"HTTP/1.1 200")
    assert KEEP_ALIVE_S * 0.9 < took_s < KEEP_ALIVE_S + 3


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


def with_length(body):
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def chunked(body):
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"


@pytest.mark.parametrize("framed", [with_length, chunked])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_offer_of_http_2_is_answered_over_http_1(server, framed, size):
    message = POST + H2C + framed(BODY) + HEAD + H2C + b"\r\n" + POST + framed(BODY)
    with connected(server) as connection:
        for start in range(0, len(message), size):
            connection.sendall(message[start : start + size])
        response, _ = until_closed(connection)
    assert response.count(b"HTTP/1.1 200 OK") == 3, response
    assert response.count(b"POSITIVE") == 2
    assert b"upgrade" not in response.lower()


def test_an_offer_keeps_what_else_the_connection_header_says(server):
    with connected(server) as connection:
        connection.sendall(POST + H2C.replace(b"Upgrade,", b"Upgrade, close,", 1) + with_length(BODY))
        response, took_s = until_closed(connection)
    assert response.startswith(b"HTTP/1.1 200 OK")
    assert took_s < KEEP_ALIVE_S


@pytest.mark.parametrize(
    "message",
    [
        (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    ],
    ids=["websocket", "tunnel"],
)
def test_other_protocols_are_refused_without_a_traceback(server, message):
    with connected(server) as connection:
        connection.sendall(message)
        response, _ = until_closed(connection)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in "".join(server.errors)


def test_a_long_address_is_refused(server):
    with connected(server) as connection:
        connection.sendall(HEAD.replace(b"/health", b"/models/" + b"x" * 10_000))
        response, _ = until_closed(connection)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"address of the request is too long" in response


def test_many_pipelined_requests_close_the_connection(server):
    with connected(server) as connection:
        connection.sendall((HEAD + b"\r\n") * 1000)
        response, took_s = until_closed(connection)
    assert took_s < TIMEOUT_S
    assert response.count(b"HTTP/1.1 200") < 100


def test_a_client_that_does_not_read_is_disconnected_without_a_traceback(server):
    large = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    address = urlsplit(server.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((address.hostname, address.port))
        connection.sendall(large * 10)
        time.sleep(TIMEOUT_S + 2)
        connection.settimeout(0.1)
        response, _ = until_closed(connection)
    assert 0 < len(response) < 10_000_000
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert "Traceback" not in "".join(server.errors)
