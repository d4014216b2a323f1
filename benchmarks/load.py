"""An HTTP client for load tests: keep-alive connections with one request at a time, on asyncio or on a blocking socket.

A client library would take more time than the server, and both share the cores.
"""

import asyncio
import json
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

__all__ = ["Load", "LoadError", "Post"]

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_TIMEOUT_S = 300
# Servers close idle connections, most after five seconds. The time counts while the processes are frozen, too.
_MAX_IDLE_S = 1
_PART_BYTES = 65536


class LoadError(Exception):
    """A server did not answer with the expected status. The message is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request.

    Attributes:
        path: The path of the URL.
        body: The body, usually JSON.
        status: The expected status of the answer.
        disconnects: Whether the client disconnects after it has sent the request.
    """

    path: str
    body: bytes
    status: int = 200
    disconnects: bool = False

    def message(self) -> bytes:
        """Return the bytes of the request."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


class Load:
    """A client that sends requests over several connections.

    Args:
        port: The port of the server on loopback.
        path: The path for texts.
        connections: The maximum number of connections.
    """

    def __init__(self, port: int, path: str = "/", *, connections: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: list[_Connection] = []
        self._socket: socket.socket | None = None
        self._port, self._path, self._max_connections = port, path, connections
        self._last_s = monotonic()

    def answers(self, texts: Sequence[str]) -> list[Any]:
        """Return the answer to each text. Each text is a separate request.

        Raises:
            LoadError: A request failed.
        """
        posts = map(self._post, texts)
        return [json.loads(body) for body in self.bodies(posts, count=len(texts))]

    def answer(self, text: str) -> Any:
        """Return the answer to a text, sent over a separate connection.

        Raises:
            LoadError: The request failed.
        """
        post = self._post(text)
        if self._socket is None or monotonic() - self._last_s > _MAX_IDLE_S:
            self._close_socket()
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=_TIMEOUT_S)
        self._socket.sendall(post.message())
        received = b""
        while (body := _body(received, post)) is None:
            part = self._socket.recv(_PART_BYTES)
            if not part:
                raise LoadError("The connection was closed.")
            received += part
        self._last_s = monotonic()
        return json.loads(body)

    def bodies(self, posts: Iterable[Post], *, count: int) -> list[bytes]:
        """Return the body of the answer to each request. It is empty if the client disconnects.

        Args:
            posts: The requests, read one by one.
            count: The number of requests.

        Raises:
            LoadError: An answer does not have the expected status.
        """
        return self._loop.run_until_complete(asyncio.wait_for(self._bodies(posts, count), _TIMEOUT_S))

    def close(self) -> None:
        """Close the connections."""
        self._close_socket()
        for connection in self._connections:
            connection.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # lets the loop close them
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, text: str) -> Post:
        return Post(path=self._path, body=json.dumps({"inputs": text}).encode())

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()

    async def _bodies(self, posts: Iterable[Post], count: int) -> list[bytes]:
        if monotonic() - self._last_s > _MAX_IDLE_S:
            while self._connections:
                self._connections.pop().close()
        while len(self._connections) < min(self._max_connections, count):
            self._connections.append(await self._connection())
        bodies: list[bytes] = [b""] * count
        waiting = iter(enumerate(posts))

        async def send_posts(slot: int) -> None:
            for index, post in waiting:
                if post.disconnects:
                    self._connections[slot].send_and_close(post)
                    self._connections[slot] = await self._connection()
                else:
                    bodies[index] = await self._connections[slot].send(post)

        try:
            async with asyncio.TaskGroup() as group:
                for slot in range(min(self._max_connections, count)):
                    group.create_task(send_posts(slot))
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        self._last_s = monotonic()
        return bodies

    async def _connection(self) -> "_Connection":
        _, connection = await self._loop.create_connection(_Connection, "127.0.0.1", self._port)
        return connection


class _Connection(asyncio.Protocol):
    """A connection with one request at a time. An answer has a Content-Length."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._post: Post | None = None

    def send(self, post: Post) -> asyncio.Future[bytes]:
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._post = post
        self._transport.write(post.message())
        return answer

    def send_and_close(self, post: Post) -> None:
        self._transport.write(post.message())
        self.close()

    def close(self) -> None:
        self._answer = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is None or self._post is None:
            return
        try:
            body = _body(self._received, self._post)
        except LoadError as error:
            self._answer.set_exception(error)
        else:
            if body is None:
                return
            self._answer.set_result(body)
        self._received = b""

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LoadError(f"The connection was closed: {error}"))


def _body(received: bytes, post: Post) -> bytes | None:
    """Return the body of an answer, or None while it is incomplete.

    Raises:
        LoadError: The answer does not have the expected status.
    """
    head, separator, body = received.partition(_END_OF_HEAD)
    if not separator or len(body) < _length(head):
        return None
    if head.split(b" ", 2)[1] != str(post.status).encode():
        raise LoadError((head.splitlines()[0] + b" " + body).decode(errors="replace"))
    return body


def _length(head: bytes) -> int:
    lengths: Iterator[bytes] = (line for line in head.lower().splitlines() if line.startswith(_LENGTH))
    return int(next(lengths).removeprefix(_LENGTH))
