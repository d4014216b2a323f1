"""A queue of rows from many callers: an idle worker takes the oldest row, and waiting rows of a similar length."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Lock, Thread
from time import perf_counter

from torchless.batching.policy import RUN_TOKENS
from torchless.batching.rows import Row, RowOutput
from torchless.errors import ClosingError

__all__ = ["BatchReport", "RowQueue"]


_ROWS_AT_ONCE = 256  # the lock of the queue is free between this many rows: other callers wait for it


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The measurements of a batch that ran.

    Attributes:
        rows: The number of rows.
        tokens: The number of tokens, padding included.
        waited_s: The time that each row waited, in seconds.
        run_s: The time of the run, in seconds.
    """

    rows: int
    tokens: int
    waited_s: Sequence[float]
    run_s: float


class RowQueue:
    """Threads that run the rows of many callers. No row waits while a thread is idle.

    Args:
        run: Runs the rows of a batch, and returns their outputs. Its second argument is a function that returns false when
            no caller needs the outputs any more. If a batch of several callers fails, the rows of each caller run again
            in a separate batch.
        workers: The number of batches that run at the same time.
        max_batch_tokens: The most tokens in a batch, padding included. A longer row runs alone.
        max_batch_rows: The most rows in a batch; None sets no limit.
        run_tokens: The fixed cost of a run, in tokens. A batch grows only while this lowers the cost of a token.
        group: Returns the group of a row. Only rows of the same group share a batch.
        on_batch: Called after each batch, on the thread that ran it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Row], Callable[[], bool]], Sequence[RowOutput]],
        *,
        workers: int,
        max_batch_tokens: int,
        max_batch_rows: int | None = None,
        run_tokens: int = RUN_TOKENS,
        group: Callable[[Row], Hashable] = lambda _: None,
        on_batch: Callable[[BatchReport], None] = lambda _: None,
    ) -> None:
        self._run = run
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_rows = max_batch_rows
        self._run_tokens = run_tokens
        self._group = group
        self._on_batch = on_batch
        self._changed = Condition()
        self._tickets = 0
        self._by_age: deque[_Waiting] = deque()
        self._by_length: dict[Hashable, list[_Waiting]] = {}
        self._closed = False
        self._threads = [
            Thread(target=self._work, name=f"torchless-queue-{index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """The number of waiting rows. Rows of cancelled callers count until an idle worker reaches them."""
        return sum(map(len, tuple(self._by_length.values())))

    def submit(self, rows: Sequence[Row]) -> Future[list[RowOutput]]:
        """Add rows to the queue.

        Args:
            rows: Any number of rows of any lengths.

        Returns:
            The outputs of all rows, in the order of the rows. If the future is cancelled, or if a row fails, the rows that
            still wait do not run.

        Raises:
            ClosingError: The queue is closed.
        """
        caller = _Caller(len(rows))
        if not rows:
            caller.future.set_result([])
            return caller.future
        now = perf_counter()
        groups = list(map(self._group, rows))
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            with self._changed:
                if self._closed:
                    caller.future.cancel()
                    raise ClosingError("The queue is closed.", hint="Use another server.")
                for position in range(begin, min(begin + _ROWS_AT_ONCE, len(rows))):
                    self._tickets += 1
                    row, group = rows[position], groups[position]
                    waiting = _Waiting(len(row), self._tickets, row, caller, position, group, now)
                    self._by_age.append(waiting)
                    insort(self._by_length.setdefault(group, []), waiting)
                self._changed.notify()
        return caller.future

    def close(self, timeout_s: float | None = None) -> None:
        """Accept no more rows, run the waiting rows, and wait until the threads have ended.

        Args:
            timeout_s: The most seconds to wait.
        """
        deadline = None if timeout_s is None else perf_counter() + timeout_s
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - perf_counter()))

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run_batch(batch)

    def _next_batch(self) -> "list[_Waiting]":
        """Wait for rows, and remove a batch from the queue. The batch is empty if the queue is closed and empty."""
        with self._changed:
            while True:
                skipped = 0
                while self._by_age:
                    skipped += 1
                    if skipped % _ROWS_AT_ONCE == 0:  # rows of cancelled callers
                        self._changed.wait(0)
                        continue
                    first = self._by_age.popleft()
                    batch = [] if first.taken else [entry for entry in self._take(first) if not entry.caller.done]
                    if batch:
                        if self._by_age:
                            self._changed.notify()
                        return batch
                if self._closed:
                    self._changed.notify_all()
                    return []
                self._changed.wait()

    def _take(self, first: "_Waiting") -> "list[_Waiting]":
        """Remove a row from the queue, with as many rows of similar length as give the lowest cost of a token."""
        waiting = self._by_length[first.group]
        begin = bisect_left(waiting, first)
        end = begin + 1
        if not first.caller.done:  # a cancelled row is removed alone
            _, begin, end = max(self._batches(waiting, begin))
        batch = waiting[begin:end]
        del waiting[begin:end]
        if not waiting:
            del self._by_length[first.group]
        for entry in batch:
            entry.taken = True
        return batch

    def _batches(self, waiting: "Sequence[_Waiting]", begin: int) -> Iterator[tuple[float, int, int]]:
        """Yield the possible batches of a row. Each has one more row than the batch before, the nearest in length.

        Yields:
            The share of a batch's cost that is not padding or fixed cost; the batch's begin and end in `waiting`.
        """
        first = waiting[begin].length
        tokens, width, end = first, max(1, first), begin + 1
        while True:
            rows = end - begin
            yield tokens / (rows * width + self._run_tokens), begin, end
            if rows == self._max_batch_rows:
                return
            shorter = waiting[begin - 1].length if begin and (rows + 1) * width <= self._max_batch_tokens else None
            longer = waiting[end].length if end < len(waiting) else None
            if longer is not None and (rows + 1) * longer > self._max_batch_tokens:
                longer = None
            if longer is not None and (shorter is None or longer - width <= first - shorter):
                tokens, width, end = tokens + longer, longer, end + 1
            elif shorter is not None:
                tokens, begin = tokens + shorter, begin - 1
            else:
                return

    def _run_batch(self, batch: "Sequence[_Waiting]") -> None:
        begun = perf_counter()
        try:
            outputs = self._run([entry.row for entry in batch], lambda: not all(entry.caller.done for entry in batch))
        except Exception as error:  # noqa: BLE001 - the callers get any exception
            callers = {id(entry.caller): entry.caller for entry in batch}
            if len(callers) == 1:
                batch[0].caller.fail(error)
                return
            for caller in callers.values():
                self._run_batch([entry for entry in batch if entry.caller is caller])
            return
        run_s = perf_counter() - begun
        for entry, output in zip(batch, outputs, strict=True):
            entry.caller.set_output(entry.position, output)
        tokens = len(batch) * max(entry.length for entry in batch)
        self._on_batch(BatchReport(len(batch), tokens, [begun - entry.since for entry in batch], run_s))


@dataclass(order=True, slots=True)
class _Waiting:
    """A waiting row. Rows of equal length are in the order of arrival."""

    length: int
    ticket: int
    row: Row = field(compare=False)
    caller: "_Caller" = field(compare=False)
    position: int = field(compare=False)
    group: Hashable = field(compare=False)
    since: float = field(compare=False)
    taken: bool = field(default=False, compare=False)


class _Caller:
    """The caller of some rows, and their outputs so far; several threads may set them."""

    def __init__(self, rows: int) -> None:
        self.future: Future[list[RowOutput]] = Future()
        self._outputs: list[RowOutput] = [()] * rows
        self._missing = rows
        self._lock = Lock()

    @property
    def done(self) -> bool:
        """Whether the caller needs no more outputs: it has all, it cancelled, or one of its rows failed."""
        return self.future.done()

    def set_output(self, position: int, output: RowOutput) -> None:
        with self._lock:
            self._outputs[position] = output
            self._missing -= 1
            if not self._missing and not self.done and self.future.set_running_or_notify_cancel():
                self.future.set_result(self._outputs)

    def fail(self, error: Exception) -> None:
        with self._lock:
            if not self.done and self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)
