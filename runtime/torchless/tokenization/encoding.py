"""The result of a tokenizer: model inputs by name, with their encodings."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from torchless.errors import InputError, TorchlessError, shortened

__all__ = ["BatchEncoding", "as_array", "encoding_columns", "encoding_error", "spans_mask"]

_ENCODING_FIELDS = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}


_SURROGATE = re.compile("[\ud800-\udfff]")


class BatchEncoding(dict[str, Any]):
    """Model inputs by name, also as attributes: `batch["input_ids"]` is `batch.input_ids`.

    Args:
        inputs: `input_ids` and the other requested inputs: lists, or int64 arrays (texts, tokens).
        encodings: The encoding of each row, before padding.
        is_cut: Whether truncation removed tokens of a text.
    """

    def __init__(self, inputs: dict[str, Any], encodings: Sequence[Encoding] = (), *, is_cut: bool = False) -> None:
        super().__init__(inputs)
        self.encodings = list(encodings)
        self.is_cut = is_cut

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


def spans_mask(encoding: Encoding, spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return 1 for each token of a row that lies in one of some spans of its text, and 0 for the others.

    Args:
        encoding: The row.
        spans: Starts and ends, in characters. One that begins in what was cut off ends the mask.
    """
    mask = [0] * len(encoding)
    for start, end in spans:
        first, last = encoding.char_to_token(start), encoding.char_to_token(end - 1)
        if first is None:
            break
        stop = last + 1 if last else len(mask)
        mask[first:stop] = [1] * (stop - first)
    return mask


def encoding_columns(encodings: Sequence[Encoding], names: Iterable[str]) -> dict[str, list[Any]]:
    """Return model inputs, and what else encodings say, by name.

    Args:
        encodings: The rows.
        names: `input_ids`, `token_type_ids`, `attention_mask`, `special_tokens_mask`, `offset_mapping`.

    Returns:
        A list for each name, with a list for each row.
    """
    return {name: [getattr(encoding, _ENCODING_FIELDS[name]) for encoding in encodings] for name in names}


def as_array(rows: list[Any]) -> NDArray[np.int64]:
    """Return rows as an array, (rows, …).

    Raises:
        InputError: The rows differ in length.
    """
    lengths = {len(row) for row in rows if isinstance(row, list)}
    if len(lengths) > 1:
        raise InputError(
            f"Rows of {min(lengths)} to {max(lengths)} tokens cannot become one array.",
            hint="Give padding=True, and truncation=True where texts may be too long.",
        )
    return np.array(rows, dtype=np.int64)


def encoding_error(error: BaseException, texts: Iterable[Any]) -> BaseException:
    """Return what to raise for an error of the package tokenizers; errors that are not its own stay as they are.

    Args:
        error: The error.
        texts: What was encoded: texts, pairs of texts, or texts in words.
    """
    is_panic = type(error).__name__ == "PanicException"
    if isinstance(error, TorchlessError) or not (is_panic or isinstance(error, Exception)):
        return error
    for text in _strings(texts):
        if surrogate := _SURROGATE.search(text):
            return InputError(
                f"The text {shortened(text)} has {surrogate[0]!r} at position {surrogate.start()}: a surrogate, which is only "
                "half of a character.",
                hint="Repair the text: text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
            )
    return InputError(f"The tokenizer cannot encode this: {error}.", hint="Give strings.")


def _strings(texts: Any) -> Iterator[str]:
    """Yield the strings in nested lists and tuples."""
    for text in [texts] if isinstance(texts, str) else texts:
        if isinstance(text, str):
            yield text
        elif isinstance(text, list | tuple):
            yield from _strings(text)
