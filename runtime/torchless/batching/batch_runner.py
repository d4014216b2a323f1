"""The runner of a batch: it pads the rows, runs the model, and removes the padding from the outputs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row, RowOutput
from torchless.models.auto import Model
from torchless.numerics import pad
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["BatchRunner"]


class BatchRunner:
    """Runs a model on batches. Any number of threads may use it at the same time.

    Args:
        model: The model.
        tokenizer: The tokenizer, which defines the padding.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self._model = model
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._pad_type_id = tokenizer.pad_token_type_id
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        self._needs_types = "token_type_ids" in model.session.inputs
        self._has_choices = "choices" in model.task.input_axes
        self._axes = tuple(model.outputs.items())

    def run(self, rows: Sequence[Row]) -> list[RowOutput]:
        """Return the outputs of each row, reduced as the row says, in the order of the rows.

        Args:
            rows: At least one row.

        Raises:
            InputError: The model rejects the rows.
        """
        # Rows are padded on the right even if the tokenizer pads on the left: the positions of each row must start at 0.
        encodings = [row.encoding for row in rows]
        width = max(map(len, encodings))
        feeds = {
            "input_ids": pad([encoding.ids for encoding in encodings], width, self._pad_id),
            "attention_mask": pad([encoding.attention_mask for encoding in encodings], width, 0),
        }
        if self._has_types:
            feeds["token_type_ids"] = pad([encoding.type_ids for encoding in encodings], width, self._pad_type_id)
        elif self._needs_types:
            feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
        if self._has_choices:
            feeds = {name: array[:, None] for name, array in feeds.items()}  # (rows, 1, tokens)
        result = self._model.run(feeds)
        arrays = [(result[name].astype(np.float32, copy=False), axes) for name, axes in self._axes]
        outputs = [
            tuple(_unpadded(array[index], axes[1:], len(row)) for array, axes in arrays)
            for index, row in enumerate(rows)
        ]
        return [output if row.reduce is None else row.reduce(output) for row, output in zip(rows, outputs, strict=True)]


def _unpadded(array: NDArray[np.float32], axes: tuple[str, ...], tokens: int) -> NDArray[np.float32]:
    if "tokens" not in axes:
        return array
    return array[(slice(None),) * axes.index("tokens") + (slice(tokens),)]
