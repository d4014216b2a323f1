"""Rows of many callers become batches: whoever is free takes the oldest, and those of its length that wait beside it."""

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


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of a batch.

    Attributes:
        rows: How many it had.
        tokens: What it cost: its rows times its longest row, padding included.
        waited_s: How long each row waited.
        run_s: How long it ran.
    """

    rows: int
    tokens: int
    waited_s: Sequence[float]
    run_s: float


class RowQueue:
    """Threads that run the rows of many callers. Nothing waits while a thread is free.

    Args:
        run: From the rows of a batch to their outputs; and it may ask whether they are still wanted by anybody. Rows of several callers that fail together are tried again, the
            rows of each caller by themselves.
        workers: How many batches run at once.
        max_batch_tokens: The most that a batch may cost, padding included. A row that costs more alone runs alone.
        max_batch_rows: The most rows a batch may have; None sets no bound.
        run_tokens: What a run costs beside its tokens, in tokens: a batch is filled up only as long as that makes it cheaper.
        group: Only rows of one group share a batch.
        on_batch: Told of each batch that was run, on the thread that ran it.
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
        self._oldest: deque[_Waiting] = deque()
        self._by_length: dict[Hashable, list[_Waiting]] = {}
        self._closed = False
        self._threads = [Thread(target=self._work, name=f"torchless-queue-{index}") for index in range(workers)]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def __len__(self) -> int:
        """The rows that wait, those of callers that have gone among them until their turn comes."""
        return sum(map(len, tuple(self._by_length.values())))

    def submit(self, rows: Sequence[Row]) -> Future[list[RowOutput]]:
        """Let rows be run.

        Args:
            rows: Any number, of any lengths.

        Returns:
            Their outputs, in their order, once all are there. Cancelling it takes those that wait out of the queue; if
            one fails, the others are not run either.

        Raises:
            ClosingError: The queue is closed.
        """
        caller = _Caller(len(rows))
        if not rows:
            caller.future.set_result([])
            return caller.future
        now = perf_counter()
        with self._changed:
            if self._closed:
                raise ClosingError("The queue is closed.", hint="Ask another server.")
            for position, row in enumerate(rows):
                self._tickets += 1
                group = self._group(row)
                waiting = _Waiting(len(row), self._tickets, row, caller, position, group, now)
                self._oldest.append(waiting)
                insort(self._by_length.setdefault(group, []), waiting)
            self._changed.notify()
        return caller.future

    def close(self) -> None:
        """Run what waits, take nothing more, and wait until the threads have ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> "list[_Waiting]":
        """Wait for rows, and take a batch of them; an empty one once the queue is closed and empty."""
        with self._changed:
            while True:
                while self._oldest:
                    first = self._oldest.popleft()
                    batch = [] if first.taken else [entry for entry in self._take(first) if not entry.caller.done]
                    if batch:
                        if self._oldest:
                            self._changed.notify()
                        return batch
                if self._closed:
                    self._changed.notify_all()
                    return []
                self._changed.wait()

    def _take(self, first: "_Waiting") -> "list[_Waiting]":
        """Take a row, and as many of its neighbours in length as make its batch the cheapest by the token."""
        waiting = self._by_length[first.group]
        begin = bisect_left(waiting, first)
        end = begin + 1
        if not first.caller.done:  # otherwise it goes alone
            _, begin, end = max(self._batches(waiting, begin))
        return self._taken(first.group, begin, end)

    def _batches(self, waiting: "Sequence[_Waiting]", begin: int) -> Iterator[tuple[float, int, int]]:
        """Yield the batches that a row may be in, one neighbour more each, the nearest in length first.

        Yields:
            The part of a batch's cost that is rows' own tokens, and where it begins and ends among those that wait.
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

    def _taken(self, group: Hashable, begin: int, end: int) -> "list[_Waiting]":
        waiting = self._by_length[group]
        batch = waiting[begin:end]
        del waiting[begin:end]
        if not waiting:
            del self._by_length[group]
        for entry in batch:
            entry.taken = True
        return batch

    def _answer(self, batch: "Sequence[_Waiting]") -> None:
        begun = perf_counter()
        try:
            outputs = self._run([entry.row for entry in batch], lambda: not all(entry.caller.done for entry in batch))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers' to hear
            callers = {id(entry.caller): entry.caller for entry in batch}
            if len(callers) == 1:
                batch[0].caller.fail(error)
                return
            for caller in callers.values():
                self._answer([entry for entry in batch if entry.caller is caller])
            return
        run_s = perf_counter() - begun
        for entry, output in zip(batch, outputs, strict=True):
            entry.caller.give(entry.position, output)
        tokens = len(batch) * max(entry.length for entry in batch)
        self._on_batch(BatchReport(len(batch), tokens, [begun - entry.since for entry in batch], run_s))


@dataclass(order=True, slots=True)
class _Waiting:
    """A row that waits. Those of one length are in the order in which they came."""

    length: int
    ticket: int
    row: Row = field(compare=False)
    caller: "_Caller" = field(compare=False)
    position: int = field(compare=False)
    group: Hashable = field(compare=False)
    since: float = field(compare=False)
    taken: bool = field(default=False, compare=False)


class _Caller:
    """Who waits for the outputs of some rows, which may come from several threads."""

    def __init__(self, rows: int) -> None:
        self.future: Future[list[RowOutput]] = Future()
        self._outputs: list[RowOutput] = [()] * rows
        self._missing = rows
        self._lock = Lock()

    @property
    def done(self) -> bool:
        """Whether nothing is wanted any more: it has gone, or one of its rows failed."""
        return self.future.done()

    def give(self, position: int, output: RowOutput) -> None:
        with self._lock:
            self._outputs[position] = output
            self._missing -= 1
            if not self._missing and not self.done and self.future.set_running_or_notify_cancel():
                self.future.set_result(self._outputs)

    def fail(self, error: Exception) -> None:
        with self._lock:
            if not self.done and self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)
