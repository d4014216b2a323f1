"""Server-sent events: each is a single line, also an error."""

import asyncio
import json
from pathlib import Path

import pytest

from torchless.errors import InputError
from torchless.server.concurrency_limiter import CURRENT_SLOT, ConcurrencyLimiter
from torchless.server.errors import named_error
from torchless.server.server_sent_events import event, stream_response

MODEL = {"name": "mine", "folder": Path("/models/of/mine")}
LINE_ENDS = "a\u2028b\u2029c\x85d\ne\r\x0bf"


@pytest.mark.parametrize("text", [LINE_ENDS, "", "é 🎬"])
def test_an_event_is_a_single_line(text):
    sent = event({"text": text}).decode()
    assert sent.endswith("\n\n")
    assert len(sent.splitlines()) == 2
    assert json.loads(sent.removeprefix("data: ")) == {"text": text}


async def sent_by(response):
    return [piece async for piece in response.iterator]


def test_an_error_after_the_first_event_is_the_last_event():
    async def events():
        yield event(1)
        raise InputError(f"No {LINE_ENDS}.", hint=f"Look into {MODEL['folder']}/config.json.")

    async def respond():
        CURRENT_SLOT.set(ConcurrencyLimiter(max_requests=1, max_tokens=1, max_bytes=1).acquire(body_bytes=1))
        return await sent_by(await stream_response(events(), named_error, **MODEL))

    first, last = asyncio.run(respond())
    assert first == event(1)
    assert last == event({"error": f"No {LINE_ENDS}. Look into mine/config.json.", "error_type": "invalid"})
    assert len(last.decode().splitlines()) == 2


def test_an_error_before_the_first_event_is_raised():
    async def events():
        raise InputError("No text.", hint="Give one.")
        yield

    with pytest.raises(InputError, match="No text"):
        asyncio.run(stream_response(events(), named_error, **MODEL))
