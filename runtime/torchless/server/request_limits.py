"""The limits of a request: its body, its time, and the number of concurrent requests."""

import asyncio
from typing import Any

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from torchless.server.concurrency_limiter import CURRENT_SLOT, ConcurrencyLimiter, Slot
from torchless.server.exceptions import request_timeout
from torchless.server.request_body import RequestBody, check_head
from torchless.server.response_delivery import PIECE_BYTES
from torchless.server.settings import Settings

__all__ = ["TRUNCATED_HEADER", "RequestLimits"]

TRUNCATED_HEADER = "X-Torchless-Truncated"
"""The header of a response with the number of texts that were truncated."""

_LAST_EVENT_S = 1  # after the time of a stream, to send the event that says so
_CLOSE_S = 1


class RequestLimits(ASGIMiddleware):
    """Reads the whole body, acquires a slot, and stops the work if the client disconnects or the time is over.

    A POST request needs a slot; other requests have no limits.

    Args:
        settings: The limits.
        limiter: The slots, and the bytes of all bodies.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, settings: Settings, limiter: ConcurrencyLimiter) -> None:
        self._settings = settings
        self._timeout_s = settings.request_timeout_s
        self._limiter = limiter

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on within its limits."""
        if scope["method"] != "POST":  # type: ignore[typeddict-item]
            await next_app(scope, receive, send)
            return
        self._limiter.check()  # before memory is taken for the body
        encoding = check_head(
            scope["headers"],  # type: ignore[arg-type]
            payload_limit=self._settings.payload_limit,
            allows_binary=scope["route_handler"].opt.get("binary_body", False),
        )
        request_body = RequestBody(self._settings, self._limiter)
        try:
            body = await request_body.read(receive, encoding=encoding)
            if body is not None:
                scope["state"]["body_bytes"] = len(body)
                if self._settings.log_inputs:
                    scope["state"]["body"] = body
                await self._answer(body, scope, receive, send, next_app)
        finally:
            request_body.release()

    async def _answer(self, body: bytes, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        loop = asyncio.get_running_loop()
        slot = self._limiter.acquire(
            body_bytes=len(body), timeout_s=self._timeout_s, deadline_s=loop.time() + self._timeout_s
        )
        CURRENT_SLOT.set(slot)
        deadline = asyncio.timeout_at(slot.deadline_s)
        disconnect = asyncio.create_task(_wait_for_disconnect(receive, deadline))
        started = False

        async def send_and_release(message: Message) -> None:
            nonlocal started
            started = True
            _report_truncation(message, slot)
            if message["type"] == "http.response.body":
                if message["more_body"]:
                    if not (disconnect.done() or deadline.expired()):
                        deadline.reschedule(slot.deadline_s + _LAST_EVENT_S)
                elif len(message["body"]) <= PIECE_BYTES:
                    slot.release()  # before the send, so that the client's next request finds a free slot
            await send(message)

        try:
            async with deadline:
                await next_app(scope, _receive_body(body, disconnect), send_and_release)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not started and not disconnect.done():  # else there is no client to answer, or it has a part already
                raise request_timeout(self._timeout_s) from None
            await _close(scope, disconnect)
        finally:
            disconnect.cancel()
            slot.release()


def _report_truncation(message: Message, slot: Slot) -> None:
    if message["type"] == "http.response.start" and slot.truncated:
        header = (TRUNCATED_HEADER.lower().encode(), b"%d" % slot.truncated)
        message["headers"] = [*message["headers"], header]


async def _wait_for_disconnect(receive: Receive, deadline: asyncio.Timeout) -> None:
    """Wait until the client disconnects, and then end the time of the request."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not deadline.expired():
        deadline.reschedule(0)


async def _close(scope: Scope, disconnect: "asyncio.Task[None]") -> None:
    """Close the connection of a client that has only a part of its response, without a message to the log."""
    abort: Any = scope["state"].get("abort")
    if abort is not None and not disconnect.done():
        abort()
        await asyncio.wait([disconnect], timeout=_CLOSE_S)


def _receive_body(body: bytes, disconnect: "asyncio.Task[None]") -> Receive:
    """Return a `receive` function that returns the body first, and then waits until the client disconnects."""
    events: list[HTTPReceiveMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> HTTPReceiveMessage:
        if events:
            return events.pop()
        await asyncio.shield(disconnect)
        return {"type": "http.disconnect"}

    return receive
