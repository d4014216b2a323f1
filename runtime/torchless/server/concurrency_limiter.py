"""Who is let in: decided once for each request, whole, and at once. On the event loop alone, so without locks."""

from torchless.errors import ClosingError, OverloadedError

__all__ = ["ConcurrencyLimiter", "Slot"]


class ConcurrencyLimiter:
    """Counts what is under way.

    Args:
        max_requests: How many requests may be.
        max_tokens: How many tokens of theirs may be; a request that is alone may have any number.

    Attributes:
        requests: How many are.
        tokens: How many of theirs are.
        closed: Whether nothing new is let in.
    """

    def __init__(self, *, max_requests: int, max_tokens: int) -> None:
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self.requests = 0
        self.tokens = 0
        self.closed = False

    @property
    def drained(self) -> bool:
        """Whether it is closed, and all that was let in is done."""
        return self.closed and not self.requests

    def acquire(self, *, body_bytes: int) -> "Slot":
        """Let a request in.

        Args:
            body_bytes: The size of its body.

        Raises:
            OverloadedError: As many as may be are under way.
            ClosingError: The server is about to stop.
        """
        if self.closed:
            raise ClosingError("The server is about to stop.", hint="Ask again; another server may answer.")
        if self.requests >= self._max_requests:
            raise OverloadedError(
                f"{self.requests} requests are under way, and no more may be.", hint="Ask again in a second."
            )
        self.requests += 1
        return Slot(self, body_bytes)

    def acquire_tokens(self, tokens: int) -> None:
        """Count the tokens of a request that was let in.

        Raises:
            OverloadedError: There would be too many under way.
        """
        if self.tokens and self.tokens + tokens > self._max_tokens:
            raise OverloadedError(
                f"{self.tokens} tokens are under way, and with {tokens} more there would be over {self._max_tokens}.",
                hint="Ask again in a second.",
            )
        self.tokens += tokens

    def release(self, tokens: int) -> None:
        """Count a request, and its tokens, as done."""
        self.requests -= 1
        self.tokens -= tokens


class Slot:
    """A request that was let in.

    Args:
        admission: What counts it, until `release`.
        body_bytes: The size of its body.

    Attributes:
        body_bytes: As given.
        tokens: How many of its own were counted.
    """

    def __init__(self, limiter: ConcurrencyLimiter, body_bytes: int) -> None:
        self._limiter = limiter
        self.body_bytes = body_bytes
        self._released = False
        self.tokens = 0

    def acquire_tokens(self, tokens: int) -> None:
        """Count tokens of this request, before any of them is queued.

        Raises:
            OverloadedError: There would be too many under way.
        """
        self._limiter.acquire_tokens(tokens)
        self.tokens += tokens

    def release(self) -> None:
        """Say that the request is done; once is enough."""
        if not self._released:
            self._released = True
            self._limiter.release(self.tokens)
