"""One batch: rows padded to the longest of them, run, and given back without padding."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.models.auto import Model
from torchless.numerics import pad
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["BatchRunner"]


class BatchRunner:
    """Runs a model on batches. Any number of threads may call it at once.

    Args:
        model: The model that answers.
        tokenizer: It knows how rows are padded.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self._model = model
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._pad_type_id = tokenizer.pad_token_type_id
        self._gives_types = "token_type_ids" in tokenizer.model_input_names
        self._needs_types = "token_type_ids" in model.session.inputs
        self._choices = "choices" in model.task.input_axes
        self._axes = tuple(model.outputs.items())

    def run(self, rows: Sequence[Row]) -> list[RowOutput]:
        """Return the outputs of each row, in the order of the rows.

        Args:
            rows: At least one.

        Raises:
            InputError: The model refuses them.
        """
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


def _unpadded(array: NDArray[np.float32], axes: tuple[str, ...], tokens: int) -> NDArray[np.float32]:
    if "tokens" not in axes:
        return array
    return array[(slice(None),) * axes.index("tokens") + (slice(tokens),)]
