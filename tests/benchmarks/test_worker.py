"""The replies of a worker."""

import pytest
from benchmarks.loaded_model import LoadedModel
from benchmarks.worker import replies

REQUEST = {"inputs": ["a", "b"], "repeats": 2, "warm_up": ["w"], "batch_size": 8, "answers": False}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def loaded(calls):
    def answer(inputs, batch_size):
        calls.append((inputs, batch_size))
        if inputs == "bad":
            raise ValueError("too bad")
        return inputs.upper()

    return LoadedModel(answer=answer, before_call=lambda: calls.append("before"))


def test_each_call_is_timed_after_the_warm_up(loaded, calls):
    (reply,) = replies(loaded, [REQUEST])
    assert len(reply["times_ms"]) == 4
    assert reply["peak_bytes"] > 1e6
    assert calls[0] == ("w", 8)
    assert calls[1:] == ["before", ("a", 8), "before", ("b", 8)] * 2


def test_answers_are_returned_on_request(loaded):
    (reply,) = replies(loaded, [REQUEST | {"answers": True}])
    assert reply["answers"] == ["A", "B"]


def test_an_error_is_reported_and_the_next_request_is_answered(loaded):
    first, second = replies(loaded, [REQUEST | {"inputs": ["bad"]}, REQUEST])
    assert first == {"error": "ValueError: too bad"}
    assert "times_ms" in second
