"""Rows that are all there, to their outputs: planned into batches, run, and given back in order."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torchless.batching.batch_runner import BatchRunner
from torchless.batching.policy import in_order, plan
from torchless.batching.rows import Row, RowOutput
from torchless.models.auto import Model
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["Run", "Scheduler"]


@dataclass(frozen=True, slots=True)
class Run:
    """Rows on their way through the model.

    Attributes:
        batches: The indices of each batch's rows.
        answers: The outputs of each batch, once they are there.
    """

    batches: Sequence[Sequence[int]]
    answers: Sequence[Future[list[RowOutput]]]

    def outputs(self) -> list[RowOutput]:
        """Wait for the outputs, and return them in the order of the rows.

        Raises:
            InputError: A row cannot be run.
        """
        try:
            return in_order(self.batches, (answer.result() for answer in self.answers))
        except BaseException:  # an interrupt too: what has not begun must not run on
            for answer in self.answers:
                answer.cancel()
            raise


class Scheduler:
    """Runs rows through a model, whoever they belong to.

    Args:
        model: The model that answers.
        tokenizer: It knows how rows are padded.
        max_batch_tokens: The price of a batch, padding included, in tokens.
        max_batch_rows: The most rows a batch may have. None sets no bound, but where an answer depends on the rows that
            share its batch, each row then runs alone.

    Attributes:
        window_inputs: The most inputs to plan together: enough to sort by length, few enough to stay lazy and small.
    """

    window_inputs = 1024

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, max_batch_tokens: int = 384, max_batch_rows: int | None = None
    ) -> None:
        self._runner = BatchRunner(model, tokenizer)
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_rows = 1 if max_batch_rows is None and model.batch_dependent else max_batch_rows
        self._workers = ThreadPoolExecutor(model.session.workers, thread_name_prefix="torchless")

    def run(self, rows: Sequence[Row], *, max_batch_rows: int | None = None) -> list[RowOutput]:
        """Return the outputs of each row, in the order of the rows.

        Args:
            rows: Any number, of any lengths.
            max_batch_rows: For these rows, instead of the scheduler's own.

        Raises:
            InputError: A row cannot be run.
        """
        if len(rows) == 1:  # at once, and on this thread
            return self._runner.run(rows)
        return self._started(rows, self._planned(rows, max_batch_rows)).outputs()

    def start(self, rows: Sequence[Row], *, max_batch_rows: int | None = None) -> Run:
        """Begin to run rows, on other threads; the arguments are those of `run`."""
        return self._started(rows, self._planned(rows, max_batch_rows))

    def _planned(self, rows: Sequence[Row], max_batch_rows: int | None) -> list[list[int]]:
        return plan(
            [len(row) for row in rows],
            max_batch_tokens=self._max_batch_tokens,
            max_batch_rows=max_batch_rows or self._max_batch_rows,
        )

    def _started(self, rows: Sequence[Row], batches: list[list[int]]) -> Run:
        answers = [self._workers.submit(self._runner.run, [rows[index] for index in batch]) for batch in batches]
        return Run(batches, answers)
