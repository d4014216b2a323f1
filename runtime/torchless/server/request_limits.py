"""The limits of a request: the size of its body, its time, and the number of concurrent requests."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from torchless.server.concurrency_limiter import CURRENT_SLOT, ConcurrencyLimiter, Slot
from torchless.server.exceptions import DeadlineError, LimitError, request_timeout
from torchless.server.settings import Settings

__all__ = ["TRUNCATED_HEADER", "RequestLimits"]

TRUNCATED_HEADER = "X-Torchless-Truncated"
"""The header of a response with the number of texts that were truncated."""


class RequestLimits(ASGIMiddleware):
    """Reads the whole body, acquires a slot, and stops the work if the client disconnects or the time is over.

    A POST request needs a slot; other requests have no limits.

    Args:
        settings: The limits.
        limiter: The slots.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, settings: Settings, limiter: ConcurrencyLimiter) -> None:
        self._payload_limit = settings.payload_limit
        self._timeout_s = settings.request_timeout_s
        self._log_inputs = settings.log_inputs
        self._limiter = limiter

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on within its limits."""
        if scope["method"] != "POST":  # type: ignore[typeddict-item]
            await next_app(scope, receive, send)
            return
        body = await self._read(scope["headers"], receive)
        if body is None:
            return
        scope["state"]["body_bytes"] = len(body)
        if self._log_inputs:
            scope["state"]["body"] = body
        slot = self._limiter.acquire(body_bytes=len(body))
        CURRENT_SLOT.set(slot)
        deadline = asyncio.timeout(self._timeout_s)
        disconnect = asyncio.create_task(_wait_for_disconnect(receive, deadline))

        async def send_and_release(message: Message) -> None:
            _report_truncation(message, slot)
            if message["type"] == "http.response.body":
                if message.get("more_body", False):  # each piece of a stream has the whole time
                    deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                else:
                    slot.release()  # before the send, so that the client's next request finds a free slot
            await send(message)

        try:
            async with deadline:
                await next_app(scope, _receive_body(body, disconnect), send_and_release)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not disconnect.done():  # else there is no client to answer
                raise request_timeout(self._timeout_s) from None
        finally:
            disconnect.cancel()
            slot.release()

    async def _read(self, headers: Any, receive: Receive) -> bytes | None:
        """Return the body, or None if the client has disconnected."""
        declared = dict(headers).get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._payload_limit:
            raise self._too_large(int(declared))
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    message: Mapping[str, Any] = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._payload_limit:
                        raise self._too_large(size)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise DeadlineError(
                f"The body took longer than {self._timeout_s:g} s: {size} bytes have arrived.", hint="Send it faster."
            ) from None

    def _too_large(self, size: int) -> LimitError:
        return LimitError(
            f"The body has at least {size} bytes, and the limit is {self._payload_limit}.",
            hint="Send several requests, or start the server with a larger --payload-limit.",
        )


def _report_truncation(message: Message, slot: Slot) -> None:
    if message["type"] == "http.response.start" and slot.truncated:
        header = (TRUNCATED_HEADER.lower().encode(), b"%d" % slot.truncated)
        message["headers"] = [*message["headers"], header]


async def _wait_for_disconnect(receive: Receive, deadline: asyncio.Timeout) -> None:
    """Wait until the client disconnects, and then end the time of the request."""
    while (await receive())["type"] != "http.disconnect":
        pass
    deadline.reschedule(0)


def _receive_body(body: bytes, disconnect: "asyncio.Task[None]") -> Receive:
    """Return a `receive` function that returns the body first, and then waits until the client disconnects."""
    events: list[HTTPReceiveMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> HTTPReceiveMessage:
        if events:
            return events.pop()
        await asyncio.shield(disconnect)
        return {"type": "http.disconnect"}

    return receive
