"""A connection, which has its deadline too: uvicorn's waits for the head of a request for as long as it takes."""

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HeaderTimeoutProtocol"]

_MAX_HEAD_BYTES = 65536


class HeaderTimeoutProtocol(HttpToolsProtocol):
    """Is closed where the head of a request does not come in time, or never ends.

    Args:
        head_timeout_s: How long it may take: from the beginning, or from the answer before it.
        uvicorn: Its own arguments.
    """

    def __init__(self, *, head_timeout_s: float, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._head_timeout_s = head_timeout_s
        self._head_bytes = 0
        self._waiting: TimerHandle | None = None  # for a head

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiting is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._drop()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():  # otherwise another head was there already
            self._stop_waiting()
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._head_bytes = 0
        self._waiting = self.loop.call_later(self._head_timeout_s, self._drop)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _drop(self) -> None:
        self._stop_waiting()
        self.transport.close()
