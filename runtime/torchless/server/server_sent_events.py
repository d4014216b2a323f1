"""Server-sent events, and responses that send them."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from litestar import Response
from litestar.response import Stream

from torchless.errors import TorchlessError
from torchless.server.errors import ErrorBody, error_info

__all__ = ["event", "stream_response"]

# JSON may hold these characters as they are, and some clients take them for the end of a line, as `str.splitlines` does.
_LINE_ENDS = {"\x85": b"\\u0085", "\u2028": b"\\u2028", "\u2029": b"\\u2029"}


def event(data: Any) -> bytes:
    """Return data as one event: a line of JSON, whatever characters its texts have.

    Args:
        data: An object that msgspec writes as JSON.
    """
    line = msgspec.json.encode(data)
    for character, escaped in _LINE_ENDS.items():
        line = line.replace(character.encode(), escaped)
    return b"data: " + line + b"\n\n"


async def stream_response(events: AsyncGenerator[bytes, None], error_body: ErrorBody) -> Response[Any]:
    """Return a response that sends events, once the first of them is there.

    Args:
        events: The events. An error before the first is raised; a later one becomes the last event, since the status is
            sent already.
        error_body: Returns the body of an error.

    Raises:
        TorchlessError: There is no first event.
    """
    first = await anext(events)

    async def send() -> AsyncIterator[bytes]:
        async with aclosing(events):
            yield first
            try:
                async for following in events:
                    yield following
            except TorchlessError as error:
                yield event(error_body(error_info(error)))

    return Stream(send(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
