"""A load: requests over connections that stay open, each with one request at a time, in plain asyncio or on a plain socket.

A client library would cost more than the server does, and both share the cores.
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
# Servers close connections that are idle, also while they and this process stand still; most wait for five seconds.
_FRESH_S = 1
_PART_BYTES = 65536


class LoadError(Exception):
    """A server did not answer with the status that was expected; in its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A request.

    Attributes:
        path: What is posted to.
        body: JSON, or what is not.
        status: What it is to be answered with.
        leaves: Its client sends it and goes.
    """

    path: str
    body: bytes
    status: int = 200
    leaves: bool = False

    def message(self) -> bytes:
        """Return what is sent."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


class Load:
    """What asks a server.

    Args:
        port: Where it listens on loopback.
        path: What texts are posted to.
        connections: How many there are at most.
    """

    def __init__(self, port: int, path: str = "/", *, connections: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._connections: list[_Connection] = []
        self._socket: socket.socket | None = None
        self._port, self._path, self._most = port, path, connections
        self._last_s = monotonic()

    def answers(self, texts: Sequence[str]) -> list[Any]:
        """Return the answer to each text, every text a request of its own.

        Raises:
            LoadError: A request failed.
        """
        posts = map(self._post, texts)
        return [json.loads(body) for body in self.bodies(posts, count=len(texts))]

    def answer(self, text: str) -> Any:
        """Return the answer to a text, over a connection on which nothing else happens meanwhile.

        Raises:
            LoadError: The request failed.
        """
        post = self._post(text)
        if self._socket is None or monotonic() - self._last_s > _FRESH_S:
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
        """Return the body of each request's answer; nothing where the client goes.

        Args:
            posts: Read as they are sent.
            count: How many they are.

        Raises:
            LoadError: A request was not answered with its status.
        """
        return self._loop.run_until_complete(asyncio.wait_for(self._bodies(posts, count), _TIMEOUT_S))

    def close(self) -> None:
        """Close the connections."""
        self._close_socket()
        for connection in self._connections:
            connection.close()
        self._loop.run_until_complete(asyncio.sleep(0))  # the loop's turn to close them
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
        if monotonic() - self._last_s > _FRESH_S:
            while self._connections:
                self._connections.pop().close()
        while len(self._connections) < min(self._most, count):
            self._connections.append(await self._connection())
        bodies: list[bytes] = [b""] * count
        waiting = iter(enumerate(posts))

        async def work(place: int) -> None:
            for index, post in waiting:
                if post.leaves:
                    self._connections[place].leave(post)
                    self._connections[place] = await self._connection()
                else:
                    bodies[index] = await self._connections[place].ask(post)

        try:
            async with asyncio.TaskGroup() as group:
                for place in range(min(self._most, count)):
                    group.create_task(work(place))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        self._last_s = monotonic()
        return bodies

    async def _connection(self) -> "_Connection":
        _, made = await self._loop.create_connection(_Connection, "127.0.0.1", self._port)
        return made


class _Connection(asyncio.Protocol):
    """One request at a time; an answer has a Content-Length."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._post: Post | None = None

    def ask(self, post: Post) -> asyncio.Future[bytes]:
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._post = post
        self._transport.write(post.message())
        return answer

    def leave(self, post: Post) -> None:
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
    """Return the body of an answer; None while it is not whole.

    Raises:
        LoadError: It has not the status that was expected.
    """
    head, ended, body = received.partition(_END_OF_HEAD)
    if not ended or len(body) < _length(head):
        return None
    if head.split(b" ", 2)[1] != str(post.status).encode():
        raise LoadError((head.splitlines()[0] + b" " + body).decode(errors="replace"))
    return body


def _length(head: bytes) -> int:
    lengths: Iterator[bytes] = (line for line in head.lower().splitlines() if line.startswith(_LENGTH))
    return int(next(lengths).removeprefix(_LENGTH))
