"""A load: requests over connections that stay open, each with one request at a time, in plain asyncio.

A client library would cost more than the server does, and both share the cores.
"""

import asyncio
import json
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any, Self

__all__ = ["Load", "LoadError"]

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_TIMEOUT_S = 300
# Servers close connections that are idle, also while they and this process stand still; most wait for five seconds.
_FRESH_S = 1


class LoadError(Exception):
    """A server did not answer with 200; in its own words."""


class Load:
    """What asks a server.

    Args:
        port: Where it listens on loopback.
        path: What is posted to.
        connections: How many there are at most.
    """

    def __init__(self, port: int, path: str, *, connections: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: list[_Connection] = []
        self._port, self._path, self._most = port, path, connections
        self._last_s = monotonic()

    def answers(self, texts: Sequence[str]) -> list[Any]:
        """Return the answer to each text, every text a request of its own.

        Raises:
            LoadError: A request failed.
        """
        return self._loop.run_until_complete(asyncio.wait_for(self._answers(texts), _TIMEOUT_S))

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # the loop's turn to close them
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _answers(self, texts: Sequence[str]) -> list[Any]:
        if monotonic() - self._last_s > _FRESH_S:
            while self._connections:
                self._connections.pop().close()
        count = min(self._most, len(texts))
        while len(self._connections) < count:
            _, made = await self._loop.create_connection(_Connection, "127.0.0.1", self._port)
            self._connections.append(made)
        bodies: list[bytes] = [b""] * len(texts)
        waiting = iter(enumerate(map(self._request, texts)))

        async def work(connection: _Connection) -> None:
            for index, request in waiting:
                bodies[index] = await connection.ask(request)

        try:
            async with asyncio.TaskGroup() as group:
                for connection in self._connections[:count]:
                    group.create_task(work(connection))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self._last_s = monotonic()
        return [json.loads(body) for body in bodies]

    def _request(self, text: str) -> bytes:
        body = json.dumps({"inputs": text}).encode()
        head = f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One request at a time; an answer has a Content-Length."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return answer

    def close(self) -> None:
        self._answer = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(_END_OF_HEAD)
        if not ended or len(body) < _length(head) or self._answer is None:
            return
        self._received = b""
        if head.split(b" ", 2)[1] == b"200":
            self._answer.set_result(body)
        else:
            self._answer.set_exception(LoadError((head.splitlines()[0] + b" " + body).decode(errors="replace")))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LoadError(f"The connection was closed: {error}"))


def _length(head: bytes) -> int:
    lengths: Iterator[bytes] = (line for line in head.lower().splitlines() if line.startswith(_LENGTH))
    return int(next(lengths).removeprefix(_LENGTH))
