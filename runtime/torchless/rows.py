"""Rows: what preprocessing makes of an input, and what the model answers to each."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.tokenizer import Encoding

__all__ = ["Row", "RowOutput"]

# The arrays that the model answers for one row, in the order of `Task.outputs`, padding cut off.
RowOutput: TypeAlias = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a model's input, without padding.

    Attributes:
        encoding: The token ids, with their offsets in the text.
        cut: Whether truncation left tokens of the text out.
    """

    encoding: Encoding
    cut: bool = False

    def __len__(self) -> int:
        return len(self.encoding)

    @property
    def text_tokens(self) -> int:
        """How many of its tokens are the text's own, not special ones."""
        return len(self) - int(sum(self.encoding.special_tokens_mask))
