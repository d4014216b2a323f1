"""Server-sent events, and the responses that send them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from litestar import Response
from litestar.response import Stream

from torchless.errors import TorchlessError
from torchless.server.concurrency_limiter import CURRENT_SLOT
from torchless.server.errors import ErrorBody, error_info, without_folder
from torchless.server.exceptions import request_timeout

__all__ = ["event", "stream_response"]

# JSON need not escape these characters, but some clients end a line at them, as `str.splitlines` does.
_LINE_ENDS = {"\x85": b"\\u0085", "\u2028": b"\\u2028", "\u2029": b"\\u2029"}


def event(data: Any) -> bytes:
    """Return data as one event: a single line of JSON.

    Args:
        data: An object that msgspec encodes.
    """
    line = msgspec.json.encode(data)
    for character, escaped in _LINE_ENDS.items():
        line = line.replace(character.encode(), escaped)
    return b"data: " + line + b"\n\n"


async def stream_response(
    events: AsyncGenerator[bytes, None], error_body: ErrorBody, *, name: str, folder: Path
) -> Response[Any]:
    """Wait for the first event, and return a response that sends the events until the time of the request is over.

    Args:
        events: The events. This function raises an error that comes before the first event. A later error becomes the
            last event, because the status is sent already.
        error_body: Returns the body of an error.
        name: The name of the model.
        folder: Its folder, whose path no error shows.

    Raises:
        TorchlessError: An error came before the first event.
    """
    first = await anext(events)
    slot = CURRENT_SLOT.get()

    async def send() -> AsyncIterator[bytes]:
        async with aclosing(events):
            yield first
            try:
                while True:
                    async with asyncio.timeout_at(slot.deadline_s):
                        next_event = await anext(events)
                    yield next_event
            except StopAsyncIteration:
                return
            except TimeoutError:
                yield event(error_body(error_info(request_timeout(slot.timeout_s))))
            except TorchlessError as error:
                yield event(error_body(without_folder(error_info(error), name, folder)))

    return Stream(send(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
