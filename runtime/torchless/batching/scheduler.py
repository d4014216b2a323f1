"""The one way from rows to their outputs: planned, padded within their batch, run, and given back in order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchless.auto import Model
from torchless.batching.policy import plan
from torchless.numerics import pad
from torchless.rows import Row, RowOutput
from torchless.tokenizer import Tokenizer

__all__ = ["Scheduler"]


class Scheduler:
    """Runs rows through a model, whoever they belong to.

    Args:
        model: The model that answers.
        tokenizer: It knows how rows are padded.
        max_batch_tokens: The price of a batch, padding included, in tokens.
        max_batch_rows: The most rows a batch may have. None sets no bound, but where an answer depends on the rows that
            share its batch, each row then runs alone.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, max_batch_tokens: int = 512, max_batch_rows: int | None = None
    ) -> None:
        self._model = model
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._pad_type_id = tokenizer.pad_token_type_id
        self._takes_types = "token_type_ids" in tokenizer.model_input_names
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_rows = 1 if max_batch_rows is None and model.batch_dependent else max_batch_rows

    def run(self, rows: Sequence[Row], *, max_batch_rows: int | None = None) -> list[RowOutput]:
        """Return the outputs of each row, in the order of the rows.

        Args:
            rows: Any number, of any lengths.
            max_batch_rows: For these rows, instead of the scheduler's own.

        Raises:
            InputError: A row cannot be run.
        """
        outputs: list[RowOutput] = [()] * len(rows)
        batches = plan(
            [len(row) for row in rows],
            max_batch_tokens=self._max_batch_tokens,
            max_batch_rows=max_batch_rows or self._max_batch_rows,
        )
        for batch in batches:
            for index, output in zip(batch, self._run_batch([rows[index] for index in batch]), strict=True):
                outputs[index] = output
        return outputs

    def _run_batch(self, rows: Sequence[Row]) -> list[RowOutput]:
        width = max(len(row) for row in rows)
        result = self._model(
            input_ids=self._padded([row.encoding.ids for row in rows], width, self._pad_id),
            attention_mask=self._padded([row.encoding.attention_mask for row in rows], width, 0),
            token_type_ids=self._padded([row.encoding.type_ids for row in rows], width, self._pad_type_id)
            if self._takes_types
            else None,
        )
        arrays = [
            (result[name].astype(np.float32, copy=False), axes) for name, axes in self._model.task.outputs.items()
        ]
        return [
            tuple(_unpadded(array[index], axes[1:], len(row)) for array, axes in arrays)
            for index, row in enumerate(rows)
        ]

    def _padded(self, sequences: Sequence[Sequence[int]], width: int, value: int) -> NDArray[np.int64]:
        # On the right, whatever side the tokenizer pads: a row's positions then start at 0, as they do alone.
        padded = pad(sequences, width, value)  # (rows, tokens)
        return padded[:, None] if "choices" in self._model.task.input_axes else padded  # or (rows, 1, tokens)


def _unpadded(array: NDArray[np.float32], axes: tuple[str, ...], tokens: int) -> NDArray[np.float32]:
    if "tokens" not in axes:
        return array
    return array[(slice(None),) * axes.index("tokens") + (slice(tokens),)]
