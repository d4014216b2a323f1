"""What bounds a request: its body's size, the time it takes to come, admission, the time it takes; and a client that goes."""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, HTTPReceiveMessage, Message, Receive, Scope, Send

from torchless.server.concurrency_limiter import CURRENT_SLOT, ConcurrencyLimiter
from torchless.server.exceptions import DeadlineError, LimitError, request_timeout
from torchless.server.settings import Settings

__all__ = ["RequestLimits"]


class RequestLimits(ASGIMiddleware):
    """Reads each body whole, lets the request in, and stops what nobody waits for any more.

    Every POST is work, and needs admission; the rest is answered in any case.

    Args:
        settings: The limits.
        admission: Who is let in.
    """

    scopes = ("http",)  # type: ignore[assignment]

    def __init__(self, settings: Settings, limiter: ConcurrencyLimiter) -> None:
        self._payload_limit = settings.payload_limit
        self._timeout_s = settings.request_timeout_s
        self._log_inputs = settings.log_inputs
        self._limiter = limiter

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Answer a request within its limits."""
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
        leaving = asyncio.create_task(_left(receive, deadline))

        async def noticed(message: Message) -> None:
            if message["type"] == "http.response.body":
                if message.get("more_body", False):  # the pieces of a stream have it each
                    deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
                else:
                    slot.release()  # first, so that whoever asks again at once does not find his own place taken
            await send(message)

        try:
            async with deadline:
                await next_app(scope, _whole(body, leaving), noticed)
        except TimeoutError:
            if not deadline.expired():
                raise
            if not leaving.done():  # otherwise nobody waits for an answer
                raise request_timeout(self._timeout_s) from None
        finally:
            leaving.cancel()
            slot.release()

    async def _read(self, headers: Any, receive: Receive) -> bytes | None:
        """Return the body; None if the client has gone."""
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
                f"The body took longer than {self._timeout_s:g} s to arrive: {size} bytes of it did.",
                hint="Send it faster.",
            ) from None

    def _too_large(self, size: int) -> LimitError:
        return LimitError(
            f"The body has at least {size} bytes, and may have {self._payload_limit}.",
            hint="Send several requests, or start the server with a larger --payload-limit.",
        )


async def _left(receive: Receive, deadline: asyncio.Timeout) -> None:
    """Wait until the client has gone, since nothing else comes after the body, and let nothing wait any longer."""
    while (await receive())["type"] != "http.disconnect":
        pass
    deadline.reschedule(0)


def _whole(body: bytes, leaving: "asyncio.Task[None]") -> Receive:
    """Return what gives a body that was read already, and then waits until the client has gone."""
    events: list[HTTPReceiveMessage] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> HTTPReceiveMessage:
        if events:
            return events.pop()
        await asyncio.shield(leaving)
        return {"type": "http.disconnect"}

    return receive
