import pytest

from torchless.errors import ClosingError
from torchless.server.concurrency_limiter import ConcurrencyLimiter
from torchless.server.exceptions import OverloadedError


def test_requests_have_a_limit():
    limiter = ConcurrencyLimiter(max_requests=2, max_tokens=100, max_bytes=1000)
    first, _ = limiter.acquire(body_bytes=1), limiter.acquire(body_bytes=1)
    with pytest.raises(OverloadedError):
        limiter.acquire(body_bytes=1)
    first.release()
    assert limiter.acquire(body_bytes=1)


def test_tokens_have_a_limit_except_for_a_single_request():
    limiter = ConcurrencyLimiter(max_requests=9, max_tokens=100, max_bytes=1000)
    large, small = limiter.acquire(body_bytes=1), limiter.acquire(body_bytes=1)
    large.acquire_tokens(500)
    with pytest.raises(OverloadedError):
        small.acquire_tokens(1)
    small.release()
    large.release()
    assert (limiter.requests, limiter.tokens) == (0, 0)


def test_a_closed_limiter_is_drained_after_the_last_request():
    limiter = ConcurrencyLimiter(max_requests=9, max_tokens=100, max_bytes=1000)
    slot = limiter.acquire(body_bytes=1)
    limiter.closed = True
    with pytest.raises(ClosingError):
        limiter.acquire(body_bytes=1)
    assert not limiter.drained
    slot.release()
    assert limiter.drained
