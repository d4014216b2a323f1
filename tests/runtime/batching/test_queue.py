from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchless import pipeline
from torchless.batching.batch_runner import BatchRunner
from torchless.batching.queue import RowQueue
from torchless.errors import ClosingError, InputError
from torchless_export.sample import sample_texts

WAIT_S = 10


@dataclass(frozen=True)
class Sized:
    """A row that is a length and a name."""

    length: int
    name: object = None

    def __len__(self):
        return self.length


class Recorded:
    """Records the batches that it runs; the first batch waits for the event `go`."""

    def __init__(self):
        self.batches = []
        self.begun = Event()
        self.go = Event()

    def __call__(self, rows, should_continue):
        self.begun.set()
        assert self.go.wait(WAIT_S)
        self.batches.append([(len(row), row.name) for row in rows])
        if any(row.name == "bad" for row in rows):
            raise InputError("A bad row.", hint="Give a good one.")
        return [(len(row), row.name) for row in rows]


@pytest.fixture
def busy():
    """A queue whose only thread is busy with a first row, and the function that runs its batches."""
    run = Recorded()
    queue = RowQueue(run, workers=1, max_batch_tokens=100, group=lambda row: isinstance(row.name, tuple))
    queue.submit([Sized(1, "first")])
    assert run.begun.wait(WAIT_S)
    yield queue, run
    run.go.set()
    queue.close()


def outcome(future):
    error = future.exception(WAIT_S)
    return future.result() if error is None else type(error)


def test_rows_of_similar_length_share_a_batch_and_the_oldest_runs_first(busy):
    queue, run = busy
    futures = [queue.submit([Sized(length)]) for length in (10, 50, 12, 90, 11, 200, 48)]
    assert len(queue) == 7
    run.go.set()
    assert [outcome(future)[0][0] for future in futures] == [10, 50, 12, 90, 11, 200, 48]
    assert [[length for length, _ in batch] for batch in run.batches] == [[1], [10, 11, 12], [48, 50], [90], [200]]
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("run_tokens", "batches"),
    [(24, [[30, 30, 32], [90]]), (1000, [[30, 30, 32, 90]])],
    ids=["cheap runs", "expensive runs"],
)
def test_a_batch_grows_while_this_lowers_the_cost_of_a_token(run_tokens, batches):
    run = Recorded()
    queue = RowQueue(run, workers=1, max_batch_tokens=400, run_tokens=run_tokens)
    queue.submit([Sized(1)])
    assert run.begun.wait(WAIT_S)
    futures = [queue.submit([Sized(length)]) for length in (30, 90, 32, 30)]
    run.go.set()
    assert [outcome(future)[0][0] for future in futures] == [30, 90, 32, 30]
    assert [[length for length, _ in batch] for batch in run.batches[1:]] == batches
    queue.close()


def test_groups_never_share_a_batch(busy):
    queue, run = busy
    futures = [queue.submit([Sized(10, name)]) for name in ("a", ("b",), "c", ("d",))]
    run.go.set()
    assert all(map(outcome, futures))
    assert [[name for _, name in batch] for batch in run.batches] == [["first"], ["a", "c"], [("b",), ("d",)]]


def test_rows_of_a_cancelled_caller_do_not_run(busy):
    queue, run = busy
    cancelled, kept = queue.submit([Sized(10, "cancelled"), Sized(80, "cancelled")]), queue.submit([Sized(10, "kept")])
    assert cancelled.cancel()
    run.go.set()
    assert outcome(kept) == [(10, "kept")]
    with pytest.raises(CancelledError):
        cancelled.result()
    assert "cancelled" not in {name for batch in run.batches for _, name in batch}


def test_only_the_caller_of_a_bad_row_fails(busy):
    queue, run = busy
    good, bad, other = (queue.submit([Sized(10, name)]) for name in ("good", "bad", "other"))
    run.go.set()
    assert [outcome(good), outcome(bad), outcome(other)] == [[(10, "good")], InputError, [(10, "other")]]


@given(
    callers=st.lists(
        st.tuples(st.lists(st.integers(0, 60), max_size=6), st.sampled_from(["runs", "fails", "cancels"])), max_size=12
    ),
    workers=st.integers(1, 3),
    max_batch_rows=st.none() | st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_each_row_runs_once_within_the_limits(callers, workers, max_batch_rows):
    run, reports = Recorded(), []
    queue = RowQueue(run, workers=workers, max_batch_tokens=64, max_batch_rows=max_batch_rows, on_batch=reports.append)
    futures = []
    for index, (lengths, fate) in enumerate(callers):
        rows = [
            Sized(length, "bad" if fate == "fails" else (index, position)) for position, length in enumerate(lengths)
        ]
        futures.append(queue.submit(rows))
        if fate == "cancels":
            futures[-1].cancel()
    run.go.set()
    queue.close()
    for index, ((lengths, fate), future) in enumerate(zip(callers, futures, strict=True)):
        if fate == "fails" and lengths:
            assert outcome(future) is InputError
        elif fate == "runs":
            assert outcome(future) == [(length, (index, position)) for position, length in enumerate(lengths)]
    assert all(report.rows == 1 or report.tokens <= 64 for report in reports)
    assert all(report.rows <= (max_batch_rows or report.rows) for report in reports)
    good = [name for batch in run.batches for _, name in batch if name != "bad" and "bad" not in {n for _, n in batch}]
    assert len(good) == len(set(good))


def test_a_batch_continues_until_all_its_callers_have_cancelled():
    futures, answers = [], []

    def run(rows, should_continue):
        answers.append(should_continue())
        for future in futures:
            future.cancel()
            answers.append(should_continue())
        return rows

    queue = RowQueue(run, workers=1, max_batch_tokens=100)
    with queue._changed:  # so that the thread cannot take the first row alone
        futures += [queue.submit([Sized(1, name)]) for name in "ab"]
    queue.close()
    assert answers == [True, True, False]


def test_a_closed_queue_accepts_no_rows(busy):
    queue, run = busy
    run.go.set()
    queue.close()
    with pytest.raises(ClosingError):
        queue.submit([Sized(1)])


@pytest.mark.parametrize("dtype", ["fp32", "q8"])
def test_results_equal_those_of_a_call(sentiment, dtype):
    classify = pipeline("text-classification", sentiment, dtype=dtype, top_k=None)
    texts = sample_texts(24)
    runner = BatchRunner(classify.model, classify.tokenizer)
    queue = RowQueue(lambda rows, _: runner.run(rows), workers=2, max_batch_tokens=384)
    prepared = [classify.prepare([text]) for text in texts]
    futures = [queue.submit(item.rows) for item in prepared]
    together = [item.results(future.result(WAIT_S))[0] for item, future in zip(prepared, futures, strict=True)]
    queue.close()
    for got, expected in zip(together, [classify([text])[0] for text in texts], strict=True):
        assert [label["label"] for label in got] == [label["label"] for label in expected]
        scores = [[label["score"] for label in result] for result in (got, expected)]
        np.testing.assert_allclose(*scores, atol=1e-5 if dtype == "fp32" else 0, rtol=0)


@pytest.mark.parametrize("cancels", [False, True])
def test_many_rows_of_one_caller(busy, cancels):
    queue, run = busy
    many, last = queue.submit([Sized(index % 50, index) for index in range(1500)]), queue.submit([Sized(7, "last")])
    if cancels:
        assert many.cancel()
    run.go.set()
    assert outcome(last) == [(7, "last")]
    if cancels:
        assert len(run.batches) == 2
    else:
        assert outcome(many) == [(index % 50, index) for index in range(1500)]


def test_closing_waits_no_longer_than_its_time(busy):
    queue, run = busy
    waiting = queue.submit([Sized(5)])
    queue.close(timeout_s=0.01)  # the first row still runs
    assert not waiting.done()
    with pytest.raises(ClosingError):
        queue.submit([Sized(5)])
    run.go.set()
    queue.close()
    assert outcome(waiting) == [(5, None)]
