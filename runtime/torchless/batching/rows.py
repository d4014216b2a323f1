"""Rows: what preprocessing makes of an input, and what the model answers to each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from torchless.errors import InputError
from torchless.generation.config import GenerationConfig
from torchless.tokenization.tokenizer import Encoding

__all__ = ["Prompt", "Row", "RowChunk", "RowOutput"]

# The arrays that the model answers for one row, padding cut off: floats, in the order of `Model.outputs`; or the token ids
# of each sequence that a prompt was answered with.
RowOutput: TypeAlias = tuple[NDArray[Any], ...]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Row):
    """A row that is continued, or answered, token by token.

    Attributes:
        config: How.
    """

    config: GenerationConfig

    @property
    def ids(self) -> list[int]:
        """Its token ids; of an empty prompt, the one that begins a text.

        Raises:
            InputError: It is empty, and no token begins a text.
        """
        if len(self):
            return list(self.encoding.ids)
        if self.config.bos_token_id is None:
            raise InputError("The prompt is empty.", hint="Give a text; this model has no token that begins one.")
        return [self.config.bos_token_id]


class RowChunk(NamedTuple):
    """The rows of a chunk of inputs.

    Attributes:
        rows: The rows, in the order of the inputs.
        is_full: Whether the chunk has as many inputs as a chunk may have.
    """

    rows: Sequence[Row]
    is_full: bool
