import pytest

from torchless.errors import ClosingError, OverloadedError
from torchless.server.admission import Admission


def test_as_many_requests_as_may_be():
    admission = Admission(max_requests=2, max_tokens=100)
    first, _ = admission.admit(), admission.admit()
    with pytest.raises(OverloadedError):
        admission.admit()
    first.release()
    assert admission.admit()


def test_as_many_tokens_as_may_be_but_one_request_may_always():
    admission = Admission(max_requests=9, max_tokens=100)
    large, small = admission.admit(), admission.admit()
    large.take(500)
    with pytest.raises(OverloadedError):
        small.take(1)
    small.release()
    large.release()
    assert (admission.requests, admission.tokens) == (0, 0)


def test_closed_once_the_last_is_done():
    admission = Admission(max_requests=9, max_tokens=100)
    admitted = admission.admit()
    admission.closed = True
    with pytest.raises(ClosingError):
        admission.admit()
    assert not admission.drained
    admitted.release()
    assert admission.drained
