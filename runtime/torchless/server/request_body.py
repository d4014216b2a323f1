"""The body of a request: its type, its encoding, and the memory that the bodies of all requests may take."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from litestar.exceptions import ClientException
from litestar.types import Receive

from torchless.server.concurrency_limiter import ConcurrencyLimiter
from torchless.server.exceptions import DeadlineError, LimitError, MediaTypeError
from torchless.server.json_codec import LARGE_BYTES, compute
from torchless.server.settings import Settings

__all__ = ["RequestBody", "check_head", "discard"]

_BINARY = "application/octet-stream"
_FREE_BYTES = 65_536  # of each body: so large bodies that arrive slowly keep no small request out
_DISCARDED_BYTES = 16_000_000
_DISCARD_S = 1
_ENCODINGS = ("gzip", "x-gzip", "deflate")
_ANY_WRAPPER = 32 + zlib.MAX_WBITS  # gzip or zlib, as the data says


def check_head(headers: Sequence[tuple[bytes, bytes]], *, payload_limit: int, allows_binary: bool) -> str | None:
    """Check what the head of a request says about its body, and return the encoding of the body.

    A page of another origin can send a body without a preflight only as text, as a form, or without a type. Clients of
    the Open Inference Protocol send no type, but they send no origin either, as browsers do.

    Args:
        headers: The headers, with names in lowercase.
        payload_limit: The maximum number of bytes.
        allows_binary: Whether bytes may follow the JSON.

    Raises:
        LimitError: The body is too large.
        MediaTypeError: The type or the encoding of the body is not possible.
    """
    values = {name: value.decode("latin-1") for name, value in headers}
    kind = values.get(b"content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    is_binary = allows_binary and (kind == _BINARY or not (kind or b"origin" in values))
    if not (is_json or is_binary):
        raise MediaTypeError(
            f"The body has the Content-Type {kind!r}." if kind else "The request has no Content-Type.",
            hint="Send the header Content-Type: application/json",
        )
    encoding = values.get(b"content-encoding", "").strip().lower()
    if encoding not in ("", "identity", *_ENCODINGS):
        raise MediaTypeError(
            f"The body has the Content-Encoding {encoding!r}.", hint="Send it as it is, or with gzip or deflate."
        )
    declared = values.get(b"content-length", "")
    if declared.isdecimal() and int(declared) > payload_limit:
        raise _too_large(int(declared), payload_limit)
    return encoding if encoding in _ENCODINGS else None


class RequestBody:
    """A body in memory. Its bytes count against the limit for all bodies until they are released.

    Args:
        settings: The limits.
        limiter: The counter of the bytes.
    """

    def __init__(self, settings: Settings, limiter: ConcurrencyLimiter) -> None:
        self._payload_limit = settings.payload_limit
        self._timeout_s = settings.request_timeout_s
        self._limiter = limiter
        self._counted = 0

    async def read(self, receive: Receive, *, encoding: str | None) -> bytes | None:
        """Return the decoded body, or None if the client has disconnected.

        Args:
            receive: Returns the events of the request.
            encoding: The encoding, as `check_head` returns it.

        Raises:
            ClientException: The body is not of the encoding.
            ClosingError: The server is about to stop.
            DeadlineError: The body took too long.
            LimitError: The body is too large.
            OverloadedError: The server holds too many bytes already.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    message: Mapping[str, Any] = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._payload_limit:
                        raise _too_large(len(body), self._payload_limit)
                    self._count(len(body))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise DeadlineError(
                f"The body took longer than {self._timeout_s:g} s: {len(body)} bytes have arrived.",
                hint="Send it faster.",
            ) from None
        if encoding is None:
            return bytes(body)
        decoded = await compute(partial(_decode, bytes(body), self._payload_limit), large=len(body) > LARGE_BYTES)
        self._count(len(body) + len(decoded))
        return decoded

    def release(self) -> None:
        """Count the bytes no longer."""
        self._limiter.release_bytes(self._counted)
        self._counted = 0

    def _count(self, size: int) -> None:
        added = max(0, size - _FREE_BYTES) - self._counted
        self._limiter.acquire_bytes(added)
        self._counted += added


async def discard(receive: Receive) -> None:
    """Read the rest of the body of a refused request, for a second at most.

    If the server closed the connection before, the client might get an error of its socket instead of the response.

    Args:
        receive: Returns the events of the request.
    """
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while size <= _DISCARDED_BYTES:
                message: Mapping[str, Any] = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _decode(body: bytes, limit: int) -> bytes:
    """Return the decompressed body. No more than the limit is ever decompressed."""
    decompressor = zlib.decompressobj(_ANY_WRAPPER)
    try:
        decoded = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise ClientException(f"The body is neither gzip nor zlib: {error}.") from error
    if len(decoded) > limit:
        raise _too_large(len(decoded), limit)
    if not decompressor.eof or decompressor.unused_data:
        raise ClientException("The body is not a single whole gzip or zlib stream.")
    return decoded


def _too_large(size: int, limit: int) -> LimitError:
    return LimitError(
        f"The body has at least {size} bytes, and the limit is {limit}.",
        hint="Send several requests, or start the server with a larger --payload-limit.",
    )
