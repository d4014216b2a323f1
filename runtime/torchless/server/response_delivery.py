"""The delivery of responses: large bodies in pieces, and no body for HEAD."""

from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

__all__ = ["PIECE_BYTES", "ResponseDelivery"]

PIECE_BYTES = 262_144
"""The size of the pieces of a large body."""


class ResponseDelivery:
    """Answers HEAD as GET, and sends large bodies in pieces: the next piece waits until the client has read.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass a request on, and deliver its response."""
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}  # the connection has the scope with HEAD, so it sends no body

        async def send_in_pieces(message: Message) -> None:
            if message["type"] == "http.response.body":
                body, start = message["body"], 0
                while len(body) - start > PIECE_BYTES:
                    piece = body[start : start + PIECE_BYTES]
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    start += PIECE_BYTES
                message = {**message, "body": body[start:]}
            await send(message)

        await self._app(scope, receive, send_in_pieces)
