import pytest

from torchless.errors import ClosingError, OverloadedError
from torchless.server.concurrency_limiter import Admission


def test_as_many_requests_as_may_be():
    admission = Admission(max_requests=2, max_tokens=100)
    first, _ = admission.admit(body_bytes=1), admission.admit(body_bytes=1)
    with pytest.raises(OverloadedError):
        admission.admit(body_bytes=1)
    first.release()
    assert admission.admit(body_bytes=1)


def test_as_many_tokens_as_may_be_but_one_request_may_always():
    admission = Admission(max_requests=9, max_tokens=100)
    large, small = admission.admit(body_bytes=1), admission.admit(body_bytes=1)
    large.take(500)
    with pytest.raises(OverloadedError):
        small.take(1)
    small.release()
    large.release()
    assert (admission.requests, admission.tokens) == (0, 0)


def test_closed_once_the_last_is_done():
    admission = Admission(max_requests=9, max_tokens=100)
    admitted = admission.admit(body_bytes=1)
    admission.closed = True
    with pytest.raises(ClosingError):
        admission.admit(body_bytes=1)
    assert not admission.drained
    admitted.release()
    assert admission.drained
