"""The measured servers. Each is a separate process that ends with its worker."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

__all__ = ["ServerError", "fastapi_server", "running", "torchless_server"]

_START_TIMEOUT_S = 120
_STOP_TIMEOUT_S = 60


class ServerError(Exception):
    """A server did not start."""


def torchless_server(folder: str, *, dtype: str) -> tuple[int, str]:
    """Start `torchless serve`.

    Args:
        folder: An exported folder.
        dtype: The variant.

    Returns:
        The port and the path for requests.

    Raises:
        ServerError: The server does not start.
    """
    port = _free_port()
    _start(_command(port, f"model={folder}", "--dtype", dtype), f"http://127.0.0.1:{port}/ready")
    return port, "/models/model"


@contextmanager
def running(*arguments: str) -> Iterator[tuple[int, int]]:
    """Run `torchless serve` within a context.

    Args:
        arguments: Models and flags.

    Yields:
        The port and the process id of the server.

    Raises:
        ServerError: The server does not start.
    """
    port = _free_port()
    process = _start(_command(port, *arguments), f"http://127.0.0.1:{port}/ready")
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=_STOP_TIMEOUT_S)


def fastapi_server(folder: str) -> tuple[int, str]:
    """Start the reference, `transformers.pipeline` behind FastAPI.

    Args:
        folder: A checkpoint.

    Returns:
        The port and the path for requests.

    Raises:
        ServerError: The server does not start.
    """
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.fastapi_reference:app", "--port", str(port)]
    _start([*command, "--no-access-log"], f"http://127.0.0.1:{port}/openapi.json", {"FOLDER": folder})
    return port, "/"


def _command(port: int, *arguments: str) -> list[str]:
    program = "from torchless.cli import main; main()"
    return [sys.executable, "-c", program, "serve", *arguments, "--port", str(port)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _start(command: Sequence[str], ready: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a server in the process group of the worker, which is frozen, resumed and ended as a whole."""
    process = subprocess.Popen(
        command, env=os.environ | (environment or {}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"{command[2]} ended with {process.returncode}")
        try:
            with urlopen(ready, timeout=5):
                return process
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    process.kill()
    raise ServerError(f"{ready} did not answer within {_START_TIMEOUT_S} s")
