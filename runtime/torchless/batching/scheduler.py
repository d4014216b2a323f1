"""The one way from rows to their outputs: planned, padded within their batch, run, and given back in order."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchless.auto import Model
from torchless.batching.policy import plan
from torchless.numerics import pad
from torchless.rows import Row, RowOutput
from torchless.tokenizer import Tokenizer

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
            return _in_order(self.batches, (answer.result() for answer in self.answers))
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
        self._model = model
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._pad_type_id = tokenizer.pad_token_type_id
        self._gives_types = "token_type_ids" in tokenizer.model_input_names
        self._needs_types = "token_type_ids" in model.session.inputs
        self._choices = "choices" in model.task.input_axes
        self._axes = tuple(model.task.outputs.items())
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
            return self._run_batch(rows)
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
        answers = [self._workers.submit(self._run_batch, [rows[index] for index in batch]) for batch in batches]
        return Run(batches, answers)

    def _run_batch(self, rows: Sequence[Row]) -> list[RowOutput]:
        # Padded on the right, whatever side the tokenizer pads: a row's positions then start at 0, as they do alone.
        encodings = [row.encoding for row in rows]
        width = max(map(len, encodings))
        given = {
            "input_ids": pad([encoding.ids for encoding in encodings], width, self._pad_id),
            "attention_mask": pad([encoding.attention_mask for encoding in encodings], width, 0),
        }
        if self._gives_types:
            given["token_type_ids"] = pad([encoding.type_ids for encoding in encodings], width, self._pad_type_id)
        elif self._needs_types:
            given["token_type_ids"] = np.zeros_like(given["input_ids"])
        if self._choices:
            given = {name: array[:, None] for name, array in given.items()}  # (rows, 1, tokens)
        result = self._model.run(given)
        arrays = [(result[name].astype(np.float32, copy=False), axes) for name, axes in self._axes]
        return [
            tuple(_unpadded(array[index], axes[1:], len(row)) for array, axes in arrays)
            for index, row in enumerate(rows)
        ]


def _in_order(batches: Sequence[Sequence[int]], answers: Iterable[Sequence[RowOutput]]) -> list[RowOutput]:
    """Return the outputs of batches in the order of their rows."""
    outputs: list[RowOutput] = [()] * sum(len(batch) for batch in batches)
    for batch, answer in zip(batches, answers, strict=True):
        for index, output in zip(batch, answer, strict=True):
            outputs[index] = output
    return outputs


def _unpadded(array: NDArray[np.float32], axes: tuple[str, ...], tokens: int) -> NDArray[np.float32]:
    if "tokens" not in axes:
        return array
    return array[(slice(None),) * axes.index("tokens") + (slice(tokens),)]
