"""The scheduler of a single caller's rows: it plans batches, runs them, and returns the outputs in the order of the rows."""

from _thread import start_new_thread
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeAlias

from torchless.batching.batch_runner import BatchRunner
from torchless.batching.policy import in_order, plan
from torchless.batching.rows import Row, RowChunk, RowOutput
from torchless.models.model import Model
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["Scheduler"]


class Scheduler:
    """Runs rows of any number of inputs through a model.

    Args:
        model: The model.
        tokenizer: The tokenizer, which defines the padding.
        max_batch_tokens: The most tokens in a batch, padding included.
        max_batch_rows: The most rows in a batch. None sets no limit, but each row runs alone if its output depends on the
            other rows of a batch, and static axes of the graph limit the rows.

    Attributes:
        max_chunk_inputs: The most inputs in a chunk: enough to sort rows by length, but few in memory.
    """

    max_chunk_inputs = 1024

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, max_batch_tokens: int = 384, max_batch_rows: int | None = None
    ) -> None:
        self._runner = BatchRunner(model, tokenizer)
        self._max_batch_tokens = max_batch_tokens
        self._model = model
        self._max_batch_rows = max_batch_rows

    def run(self, rows: Sequence[Row], *, max_batch_rows: int | None = None) -> list[RowOutput]:
        """Return the outputs of each row, in the order of the rows.

        Args:
            rows: Any number of rows of any lengths.
            max_batch_rows: The most rows in a batch, for these rows.

        Raises:
            InputError: The model rejects a row.
        """
        if len(rows) == 1:  # a single row needs no other thread
            return self._runner.run(rows)
        return self._submit(rows, max_batch_rows)()

    def run_chunks(
        self, row_chunks: Iterable[RowChunk], *, max_batch_rows: int | None = None
    ) -> Iterator[list[RowOutput]]:
        """Yield the outputs of each chunk of rows. While a full chunk runs, the next one is read.

        Args:
            row_chunks: The chunks; each is read only when the caller requests its outputs, or those of a full chunk before
                it.
            max_batch_rows: The most rows in a batch, for these rows.

        Raises:
            InputError: The model rejects a row.
        """
        running: Callable[[], list[RowOutput]] | None = None
        for chunk in row_chunks:
            if not chunk.is_full and running is None:
                yield self.run(chunk.rows, max_batch_rows=max_batch_rows)
                continue
            submitted = self._submit(chunk.rows, max_batch_rows)
            if running is not None:
                yield running()
            running = submitted
        if running is not None:
            yield running()

    def _submit(self, rows: Sequence[Row], max_batch_rows: int | None) -> Callable[[], list[RowOutput]]:
        """Start to run rows on other threads, and return a function that waits for their outputs."""
        most = max_batch_rows or self._max_batch_rows or self._model.max_batch_rows(self._max_batch_tokens)
        batches = plan([len(row) for row in rows], max_batch_tokens=self._max_batch_tokens, max_batch_rows=most)
        run = self._start([[rows[index] for index in batch] for batch in batches])
        return lambda: in_order(batches, run())

    def _start(self, batches: Sequence[Sequence[Row]]) -> Callable[[], list[list[RowOutput]]]:
        """Start to run batches on other threads, and return a function that waits for the outputs of each."""
        waiting: SimpleQueue[int] = SimpleQueue()
        finished: _Finished = SimpleQueue()
        for index in range(len(batches)):
            waiting.put(index)

        # Each call has threads of its own, without the handshakes of `threading`: an interrupt of the caller leaves no lock
        # behind that a later call needs, and a fork no pool without threads.
        for _ in range(min(self._model.session.workers, len(batches))):
            try:
                start_new_thread(self._work, (batches, waiting, finished))
            except RuntimeError:  # the system has no more threads
                self._work(batches, waiting, finished)

        def outputs() -> list[list[RowOutput]]:
            found: dict[int, list[RowOutput]] = {}
            try:
                while len(found) < len(batches):
                    index, result = finished.get()
                    if isinstance(result, BaseException):
                        raise result
                    found[index] = result
            finally:  # after an error or an interrupt, waiting batches must not run
                while _next(waiting) is not None:
                    pass
            return [found[index] for index in range(len(batches))]

        return outputs

    def _work(self, batches: Sequence[Sequence[Row]], waiting: SimpleQueue[int], finished: "_Finished") -> None:
        """Run batches until none waits."""
        while (index := _next(waiting)) is not None:
            try:
                finished.put((index, self._runner.run(batches[index])))
            except BaseException as error:  # noqa: BLE001 - the caller gets any exception
                finished.put((index, error))


# The outputs of each batch, or what it raised, by its index.
_Finished: TypeAlias = SimpleQueue[tuple[int, list[RowOutput] | BaseException]]


def _next(waiting: SimpleQueue[int]) -> int | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None
