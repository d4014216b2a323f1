"""Rows: the inputs of a model after preprocessing, and the outputs of the model for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

from torchless.errors import InputError
from torchless.generation.config import GenerationConfig
from torchless.tokenization.tokenizer import Encoding

__all__ = ["Prompt", "Row", "RowChunk", "RowOutput"]

# The outputs of the model for one row, without padding: float arrays in the order of `Model.outputs`. For a prompt, the token
# ids of each generated sequence.
RowOutput: TypeAlias = tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a model's input, without padding.

    Attributes:
        encoding: The token ids, with their offsets in the text.
        cut: Whether truncation removed tokens of the text.
        reduce: Applied to the outputs of the model right after its run, so that a large output, of which the result needs
            little, does not wait in memory for the outputs of other rows.
    """

    encoding: Encoding
    cut: bool = False
    reduce: Callable[[RowOutput], RowOutput] | None = None

    def __len__(self) -> int:
        return len(self.encoding)

    @property
    def text_tokens(self) -> int:
        """The number of tokens of the text, without special tokens."""
        return len(self) - int(sum(self.encoding.special_tokens_mask))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Row):
    """A row for which a model generates tokens.

    Attributes:
        config: The options of the generation.
    """

    config: GenerationConfig

    @property
    def ids(self) -> list[int]:
        """The token ids; for an empty prompt, only `bos_token_id`.

        Raises:
            InputError: The prompt is empty, and the model has no `bos_token_id`.
        """
        if len(self):
            return list(self.encoding.ids)
        if self.config.bos_token_id is None:
            raise InputError("The prompt is empty.", hint="Give a text; this model has no token that begins a text.")
        return [self.config.bos_token_id]


class RowChunk(NamedTuple):
    """The rows of a chunk of inputs.

    Attributes:
        rows: The rows, in the order of the inputs.
        is_full: Whether the chunk has the most inputs that a chunk may have.
    """

    rows: Sequence[Row]
    is_full: bool
