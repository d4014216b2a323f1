import pytest

from torchless.errors import ClosingError
from torchless.server.concurrency_limiter import ConcurrencyLimiter
from torchless.server.exceptions import OverloadedError


def test_as_many_requests_as_may_be():
    limiter = ConcurrencyLimiter(max_requests=2, max_tokens=100)
    first, _ = limiter.acquire(body_bytes=1), limiter.acquire(body_bytes=1)
    with pytest.raises(OverloadedError):
        limiter.acquire(body_bytes=1)
    first.release()
    assert limiter.acquire(body_bytes=1)


def test_as_many_tokens_as_may_be_but_one_request_may_always():
    limiter = ConcurrencyLimiter(max_requests=9, max_tokens=100)
    large, small = limiter.acquire(body_bytes=1), limiter.acquire(body_bytes=1)
    large.acquire_tokens(500)
    with pytest.raises(OverloadedError):
        small.acquire_tokens(1)
    small.release()
    large.release()
    assert (limiter.requests, limiter.tokens) == (0, 0)


def test_closed_once_the_last_is_done():
    limiter = ConcurrencyLimiter(max_requests=9, max_tokens=100)
    slot = limiter.acquire(body_bytes=1)
    limiter.closed = True
    with pytest.raises(ClosingError):
        limiter.acquire(body_bytes=1)
    assert not limiter.drained
    slot.release()
    assert limiter.drained
