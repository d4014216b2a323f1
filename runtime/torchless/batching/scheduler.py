"""Runs rows that are all known: plans them into batches, and returns the outputs in the order of the rows."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

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
        tokenizer: It knows how rows are padded.
        max_batch_tokens: The most tokens in a batch, padding included: what the batch costs.
        max_batch_rows: The most rows in a batch. None sets no bound, but each row runs alone if an answer depends on the
            rows that share its batch, and a graph's static axes bound them.

    Attributes:
        max_chunk_inputs: The most inputs in a chunk: enough to sort by length, few enough to stay lazy and small.
    """

    max_chunk_inputs = 1024

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, max_batch_tokens: int = 384, max_batch_rows: int | None = None
    ) -> None:
        self._runner = BatchRunner(model, tokenizer)
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_rows = model.max_batch_rows(max_batch_tokens) if max_batch_rows is None else max_batch_rows
        self._workers = ThreadPoolExecutor(model.session.workers, thread_name_prefix="torchless")

    def run(self, rows: Sequence[Row], *, max_batch_rows: int | None = None) -> list[RowOutput]:
        """Return the outputs of each row, in the order of the rows.

        Args:
            rows: Any number, of any lengths.
            max_batch_rows: The most rows in a batch, for these rows.

        Raises:
            InputError: A row cannot be run.
        """
        if len(rows) == 1:  # at once, and on this thread
            return self._runner.run(rows)
        return self._submit(rows, max_batch_rows).outputs()

    def run_chunks(
        self, row_chunks: Iterable[RowChunk], *, max_batch_rows: int | None = None
    ) -> Iterator[list[RowOutput]]:
        """Yield the outputs of each chunk of rows. While a full chunk runs, the next one is read.

        Args:
            row_chunks: The chunks; each is read only when its outputs, or those of a full chunk before it, are asked for.
            max_batch_rows: The most rows in a batch, for these rows.

        Raises:
            InputError: A row cannot be run.
        """
        running: _Run | None = None
        for chunk in row_chunks:
            if not chunk.is_full and running is None:
                yield self.run(chunk.rows, max_batch_rows=max_batch_rows)
                continue
            submitted = self._submit(chunk.rows, max_batch_rows)
            if running is not None:
                yield running.outputs()
            running = submitted
        if running is not None:
            yield running.outputs()

    def _submit(self, rows: Sequence[Row], max_batch_rows: int | None) -> "_Run":
        batches = plan(
            [len(row) for row in rows],
            max_batch_tokens=self._max_batch_tokens,
            max_batch_rows=max_batch_rows or self._max_batch_rows,
        )
        futures = [self._workers.submit(self._runner.run, [rows[index] for index in batch]) for batch in batches]
        return _Run(batches, futures)


@dataclass(frozen=True, slots=True)
class _Run:
    """Rows that run on other threads.

    Attributes:
        batches: The indices of each batch's rows.
        futures: The outputs of each batch.
    """

    batches: Sequence[Sequence[int]]
    futures: Sequence[Future[list[RowOutput]]]

    def outputs(self) -> list[RowOutput]:
        """Wait for the outputs, and return them in the order of the rows."""
        try:
            return in_order(self.batches, (future.result() for future in self.futures))
        except BaseException:  # an interrupt too: batches that have not begun must not run
            for future in self.futures:
                future.cancel()
            raise
