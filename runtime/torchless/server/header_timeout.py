"""The HTTP connection with a time limit for the head of a request; uvicorn's connection has no such limit."""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HeaderTimeoutProtocol"]

_MAX_HEAD_BYTES = 65536


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """Closes the connection if the head of a request is late or too large.

    Args:
        head_timeout_s: The seconds for a head to arrive, counted from the connection or from the previous response.
        options: The arguments of uvicorn's protocol.
    """

    def __init__(self, *, head_timeout_s: float, **options: Any) -> None:
        super().__init__(**options)
        self._head_timeout_s = head_timeout_s
        self._head_bytes = 0
        self._in_body = False
        self._timer: TimerHandle | None = None  # runs while a head is due

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # After an early refusal, the rest of the body arrives before the next head.
        if self._timer is not None and not self._in_body:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():  # else the next head has arrived already
            self._stop_timer()
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._head_bytes = 0
        self._timer = self.loop.call_later(self._head_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
