"""The end of the process: after signals, and with threads at work that cannot be stopped."""

import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest
from fixtures.server import PROGRAM, serving

TIMEOUT_S = 2
BODY = b'{"inputs": "stuck"}'
POST = b"POST /models/sentiment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


# A program whose answers to `stuck` wait in a thread of native code, as a model can.
@pytest.fixture(autouse=True, scope="module")
def hangups_count():
    """A server that starts with SIGHUP ignored, as after `nohup`, keeps ignoring it."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


STUCK = """
import asyncio, ctypes
from concurrent.futures import ThreadPoolExecutor
from torchless.cli import main
from torchless.server import models

threads, answer = ThreadPoolExecutor(1), models.ServedModel.answer

async def stuck(self, inputs, options):
    if inputs == ["stuck"]:
        await asyncio.get_running_loop().run_in_executor(threads, ctypes.CDLL(None).sleep, 1000)
    return await answer(self, inputs, options)

models.ServedModel.answer = stuck
main()
"""


def connected(server, message):
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=20)
    connection.sendall(message)
    return connection


def ended_within(server, seconds):
    begin = time.monotonic()
    status = server.process.wait(timeout=seconds)
    return status, time.monotonic() - begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_a_server_with_idle_and_slow_clients(sentiment, number):
    with serving(f"sentiment={sentiment}", "--request-timeout-s=60") as server:
        slow = connected(server, POST % 1000 + b"{")
        with slow, connected(server, b""), connected(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as idle:
            assert idle.recv(4096).startswith(b"HTTP/1.1 200")
            server.process.send_signal(number)
            assert ended_within(server, 20)[0] == 0
    assert f"{number.name}; new requests are refused" in "".join(server.errors)
    assert "Traceback" not in "".join(server.errors)


def test_a_stuck_thread_does_not_keep_the_process(sentiment):
    with (
        serving(f"sentiment={sentiment}", f"--request-timeout-s={TIMEOUT_S}", program=STUCK) as server,
        connected(server, POST % len(BODY) + BODY) as connection,
    ):
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        _, took_s = ended_within(server, 30)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert took_s < TIMEOUT_S + 5


def test_a_second_signal_ends_the_process_at_once(sentiment):
    with (
        serving(f"sentiment={sentiment}", "--request-timeout-s=60", program=STUCK) as server,
        connected(server, POST % len(BODY) + BODY),
    ):
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=1)
        server.process.send_signal(signal.SIGTERM)
        status, took_s = ended_within(server, 20)
    assert (status, took_s < 2) == (128 + signal.SIGTERM, True)


def test_nohup_is_respected(sentiment):
    ignoring = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{PROGRAM}"
    with serving(f"sentiment={sentiment}", program=ignoring) as server:
        server.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=1)
        assert server.stop() == 0


@pytest.mark.parametrize("host", ["", " ", "a b", "a..b", "x" * 300])
def test_a_host_that_is_no_name_is_refused(sentiment, host):
    command = [sys.executable, "-c", PROGRAM, "serve", str(sentiment), "--host", host, "--port", "0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert "host" in result.stderr
    assert "Traceback" not in result.stderr
