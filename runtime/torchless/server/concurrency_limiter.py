"""The limits of concurrent requests, their tokens and the bytes of their bodies. Only the event loop uses them: no locks."""

from contextvars import ContextVar
from math import inf

from torchless.errors import ClosingError
from torchless.server.exceptions import OverloadedError

__all__ = ["CURRENT_SLOT", "ConcurrencyLimiter", "Slot"]


class ConcurrencyLimiter:
    """Counts the requests that the server works on, their tokens, and the bytes of all bodies in memory.

    Args:
        max_requests: The maximum number of requests at once.
        max_tokens: The maximum number of their tokens; a request that is alone may have more.
        max_bytes: The maximum number of bytes of the bodies, also of those that have not arrived yet.

    Attributes:
        requests: The number of requests that have a slot.
        tokens: The number of their tokens.
        bytes: The number of bytes of the bodies.
        closed: Whether new requests are refused.
    """

    def __init__(self, *, max_requests: int, max_tokens: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._max_bytes = max_bytes
        self.requests = 0
        self.tokens = 0
        self.bytes = 0
        self.closed = False

    @property
    def drained(self) -> bool:
        """Whether the limiter is closed and all requests are done."""
        return self.closed and not self.requests

    def check(self) -> None:
        """Raise if there is no slot for a request.

        Raises:
            OverloadedError: All slots are taken.
            ClosingError: The server is about to stop.
        """
        if self.closed:
            raise ClosingError("The server is about to stop.", hint="Try again; another server may answer.")
        if self.requests >= self._max_requests:
            raise OverloadedError(
                f"The server works on {self.requests} requests, which is its limit.", hint="Try again in a second."
            )

    def acquire(self, *, body_bytes: int, timeout_s: float = inf, deadline_s: float = inf) -> "Slot":
        """Return a slot for a request; this never waits.

        Args:
            body_bytes: The size of the request's body.
            timeout_s: The seconds that the request may take.
            deadline_s: The end of the request's time, in seconds of the event loop.

        Raises:
            OverloadedError: All slots are taken.
            ClosingError: The server is about to stop.
        """
        self.check()
        self.requests += 1
        return Slot(self, body_bytes, timeout_s, deadline_s)

    def acquire_bytes(self, count: int) -> None:
        """Count bytes of a body.

        Raises:
            OverloadedError: The bytes would exceed the limit.
        """
        if count and self.bytes + count > self._max_bytes:
            raise OverloadedError(
                f"The server holds {self.bytes} bytes of bodies; {count} more would exceed its limit of "
                f"{self._max_bytes}.",
                hint="Try again in a second, or start the server with a larger --max-buffered-bytes.",
            )
        self.bytes += count

    def release_bytes(self, count: int) -> None:
        """Count bytes of a body no longer."""
        self.bytes -= count

    def acquire_tokens(self, tokens: int) -> None:
        """Count the tokens of a request that has a slot.

        Raises:
            OverloadedError: The tokens would exceed the limit.
        """
        if self.tokens and self.tokens + tokens > self._max_tokens:
            raise OverloadedError(
                f"The server works on {self.tokens} tokens; {tokens} more would exceed its limit of {self._max_tokens}.",
                hint="Try again in a second.",
            )
        self.tokens += tokens

    def release(self, tokens: int) -> None:
        """Count a request and its tokens as done."""
        self.requests -= 1
        self.tokens -= tokens


class Slot:
    """The slot of one request.

    Args:
        limiter: The limiter that counts the request.
        body_bytes: The size of the request's body.
        timeout_s: The seconds that the request may take.
        deadline_s: The end of the request's time, in seconds of the event loop.

    Attributes:
        body_bytes: The size of the request's body.
        timeout_s: The seconds that the request may take.
        deadline_s: The end of the request's time, in seconds of the event loop.
        tokens: The number of the request's tokens that are counted.
        truncated: The number of the request's rows that are shorter than their text.
    """

    def __init__(self, limiter: ConcurrencyLimiter, body_bytes: int, timeout_s: float, deadline_s: float) -> None:
        self._limiter = limiter
        self.body_bytes = body_bytes
        self.timeout_s = timeout_s
        self.deadline_s = deadline_s
        self._released = False
        self.tokens = 0
        self.truncated = 0

    def acquire_tokens(self, tokens: int) -> None:
        """Count tokens of this request, before its rows are queued.

        Raises:
            OverloadedError: The tokens would exceed the limit.
        """
        self._limiter.acquire_tokens(tokens)
        self.tokens += tokens

    def release(self) -> None:
        """Release the slot. A second call does nothing."""
        if not self._released:
            self._released = True
            self._limiter.release(self.tokens)


CURRENT_SLOT: ContextVar[Slot] = ContextVar("CURRENT_SLOT")
"""The slot of the current request."""
