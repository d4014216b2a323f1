"""The HTTP connection: uvicorn's, with limits for clients that send or read too slowly, and without upgrades."""

from asyncio import TimerHandle, Transport
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HttpProtocol"]

_MAX_HEAD_BYTES = 65536
_MAX_ADDRESS_BYTES = 4096  # Litestar keeps the addresses of the last thousand routes
_MAX_PIPELINED = 64  # requests that wait for the response to an earlier request of their connection
_UPGRADE_HEADERS = (b"upgrade", b"http2-settings")


class HttpProtocol(HttpToolsProtocol):
    """Closes the connection if the head of a request is late or too large, or if the client does not read.

    A request that offers another protocol, as Java's client offers HTTP/2, is answered over HTTP/1.1. WebSockets are
    refused.

    Args:
        head_timeout_s: The seconds for a head to arrive, from the connection or from its first byte.
        read_timeout_s: The seconds for a client to read what is ready for it.
        options: The arguments of uvicorn's protocol.
    """

    def __init__(self, *, head_timeout_s: float, read_timeout_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._head_timeout_s = head_timeout_s
        self._head_bytes = 0
        self.url = b""
        self._in_body = False
        self._offers_upgrade = False
        self._cycles: list[Any] = []  # the requests without a complete response
        self._head_timer = _Timer(self, head_timeout_s)  # runs while a head is due
        self._read_timer = _Timer(self, read_timeout_s)  # runs while the client does not read

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if not self._in_body and not self._head_timer.runs:
            self._await_head()
        size = len(data)
        while data:
            try:
                self.parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_upgrade(data[upgrade.args[0] :])
            except httptools.HttpParserError:
                long = len(self.url) > _MAX_ADDRESS_BYTES
                problem = "The address of the request is too long." if long else "Invalid HTTP request received."
                self.logger.warning(problem)
                self.send_400_response(problem)
                return
        # After an early refusal, the rest of the body arrives before the next head.
        if self._head_timer.runs and not self._in_body:
            self._head_bytes += size
            if self._head_bytes > _MAX_HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["abort"] = self.transport.abort

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > _MAX_ADDRESS_BYTES:
            raise ValueError("The address is too long.")

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.transport.abort()
            raise ConnectionAbortedError("Too many pipelined requests.")
        if self.parser.should_upgrade():
            self._offers_upgrade = True
            return
        self._in_body = True
        self._head_timer.stop()
        super().on_headers_complete()
        self._cycles.append(self.cycle)

    def on_message_complete(self) -> None:
        if self._offers_upgrade:
            return
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete]
        super().on_response_complete()
        if self.cycle.response_complete:
            self.cycle.body.clear()  # what arrived after an early refusal
            if self._in_body and not self.transport.is_closing():
                self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_timer.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_timer.stop()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # a close would wait for a client that does not read

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.stop()
        self._read_timer.stop()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        for cycle in self._cycles:  # uvicorn marks only the last request of a connection
            cycle.disconnected = True
            cycle.message_event.set()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer.start()

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Return the bytes of a request without its offer of another protocol, and begin to parse anew.

        The parser takes the bytes after the head for those of the other protocol.

        Args:
            rest: The bytes after the head.

        Returns:
            The bytes to parse; none if the request is refused.
        """
        self._offers_upgrade = False
        offered = b",".join(value for name, value in self.headers if name == b"upgrade").lower()
        if b"websocket" in offered or self.parser.get_method() == b"CONNECT":
            self.send_400_response("This server has no WebSockets and no tunnels.")
            return b""
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [item for item in value.split(b",") if item.strip().lower() not in _UPGRADE_HEADERS]
                value = b",".join(kept)  # noqa: PLW2901
            if name not in _UPGRADE_HEADERS:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        with suppress(AttributeError):  # as uvicorn does; old versions of httptools are always lenient
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"\r\n".join(lines) + b"\r\n\r\n" + rest


class _Timer:
    """Aborts a connection after some seconds.

    Args:
        protocol: The protocol of the connection.
        seconds: The seconds.
    """

    def __init__(self, protocol: HttpToolsProtocol, seconds: float) -> None:
        self._protocol = protocol
        self._seconds = seconds
        self._handle: TimerHandle | None = None

    @property
    def runs(self) -> bool:
        """Whether the time passes."""
        return self._handle is not None

    def start(self) -> None:
        """Start anew."""
        self.stop()
        abort: Callable[[], None] = self._protocol.transport.abort
        self._handle = self._protocol.loop.call_later(self._seconds, abort)

    def stop(self) -> None:
        """Stop, if the time passes."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
