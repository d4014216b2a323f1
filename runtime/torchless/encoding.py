"""What a tokenizer returns: model inputs by name, with the encodings that they came from."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Encoding

__all__ = ["BatchEncoding"]


class BatchEncoding(dict[str, Any]):
    """Model inputs by name, also as attributes: `batch["input_ids"]` is `batch.input_ids`.

    Args:
        inputs: `input_ids` and the others that were asked for: lists, or int64 arrays (texts, tokens).
        encodings: The encoding of each row, before padding.
    """

    def __init__(self, inputs: dict[str, Any], encodings: Sequence[Encoding] = ()) -> None:
        super().__init__(inputs)
        self.encodings = list(encodings)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name!r} here; there are: {', '.join(self)}") from None

    def tokens(self, batch_index: int = 0) -> list[str]:
        """Return the tokens of a row, special ones included, padding not."""
        return list(self.encodings[batch_index].tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return the word that each token of a row belongs to; None for special tokens."""
        return list(self.encodings[batch_index].word_ids)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return whether each token of a row is of the text (0) or its pair (1); None for special tokens."""
        return list(self.encodings[batch_index].sequence_ids)
