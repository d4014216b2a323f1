import asyncio

import pytest

from torchless.server.response_delivery import PIECE_BYTES, ResponseDelivery


def delivered(body, *, method="GET", more_body=False):
    """Return the method that the application sees, and the messages that the connection gets."""
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def send(message):
        sent.append(message)

    asyncio.run(ResponseDelivery(app)({"type": "http", "method": method}, None, send))
    start, *pieces = sent
    assert start["type"] == "http.response.start"
    return seen, pieces


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
@pytest.mark.parametrize("more_body", [False, True])
def test_a_large_body_is_sent_in_pieces(size, more_body):
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    _, pieces = delivered(body, more_body=more_body)
    assert b"".join(piece["body"] for piece in pieces) == body
    assert max(len(piece["body"]) for piece in pieces) <= PIECE_BYTES
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [more_body]


def test_head_is_answered_as_get():
    assert delivered(b"a", method="HEAD")[0] == ["GET"]
    assert delivered(b"a", method="POST")[0] == ["POST"]
