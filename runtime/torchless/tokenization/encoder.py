"""The encoder: from texts to encodings, cut or in windows, at a cost that a caller can limit."""

import sys
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

from tokenizers import Encoding, Tokenizer, processors

from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import OptionError
from torchless.tokenization.encoding import encoding_error
from torchless.tokenization.native_calls import NATIVE_CALLS, threads_used
from torchless.tokenization.truncation import Truncation, kept_lengths, kept_part, window_count, windows_of

__all__ = ["Encoder"]

_SHORT_CHARACTERS = 2000  # a longer text runs on a thread of the backend, so that Python's other threads continue
# A text that is cut at its end is read in pieces: first this many characters for each token that is kept.
_CHARACTERS_PER_TOKEN = 8
# The last tokens of a piece may differ from those of the whole text, and are not used.
_SPARE_TOKENS = 64


class Encoder:
    """Encodes texts. It has no state, so any number of threads may use it at once.

    Truncation is done here, not by the backend: the backend builds all windows of what is cut, and for a pair all
    combinations of windows, which can take gigabytes.

    Args:
        backend: The tokenizer, without truncation and padding.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        # The same tokenizer without the last step, which adds the special tokens. They share the model.
        self._raw = Tokenizer(backend.model)
        self._raw.normalizer = backend.normalizer
        self._raw.pre_tokenizer = backend.pre_tokenizer
        self._raw.encode_special_tokens = backend.encode_special_tokens
        self._raw.add_tokens([token for _, token in sorted(backend.get_added_tokens_decoder().items())])
        self._last_step = backend
        if backend.post_processor is None:  # then the token types of a pair depend on the first step
            self._last_step = Tokenizer(backend.model)
            self._last_step.post_processor = processors.TemplateProcessing(
                single="$A", pair="$A $B:1", special_tokens=[]
            )

    def encode(
        self, texts: Sequence[Any], *, add_special_tokens: bool = True, is_split_into_words: bool = False
    ) -> list[Encoding]:
        """Encode texts as they are.

        Args:
            texts: Strings or (string, string) pairs; with `is_split_into_words`, lists of strings for strings.
            add_special_tokens: Add the special tokens of the model.
            is_split_into_words: The texts are lists of words.

        Raises:
            InputError: A text cannot be encoded.
        """
        return _encoded(self._backend, texts, special=add_special_tokens, words=is_split_into_words)

    def encode_truncated(
        self,
        text: Any,
        truncation: Truncation,
        *,
        side: str,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
    ) -> tuple[Encoding, bool]:
        """Encode a text, and cut it if it is too long: return its encoding, and whether it was cut.

        A text that is cut at its end is only read as far as it is kept, or a little further.

        Args:
            text: A string or a (string, string) pair; with `is_split_into_words`, lists of strings for strings.
            truncation: How to cut it.
            side: The end that is cut, unless `truncation` says which.
            add_special_tokens: Add the special tokens of the model.
            is_split_into_words: The text is a list of words.

        Raises:
            InputError: The text cannot be encoded, or cannot be cut by this strategy.
            OptionError: The stride is not smaller than what truncation leaves of a text.
        """
        side = truncation.side or side
        texts = _texts(text, words=is_split_into_words)
        room = self._room(len(texts) == 2, truncation, special=add_special_tokens)
        spared = {"only_first": 1, "only_second": 0}.get(truncation.strategy)
        needed = [
            room + 1 if side == "right" and index != spared and not is_split_into_words else None
            for index in range(len(texts))
        ]
        parts = self._parts(texts, needed, words=is_split_into_words)
        if len(parts) == 2 and room % 2 and all(len(part) > room for part in parts):
            parts = self._parts(texts, [None, None], words=is_split_into_words)  # the longer text keeps the odd token
        kept = _kept(parts, room, truncation)
        is_cut = kept != list(map(len, parts))
        window = [kept_part(part, tokens, side=side) for part, tokens in zip(parts, kept, strict=True)]
        return self._last_step.post_process(*window, add_special_tokens=add_special_tokens), is_cut

    def encode_windows(
        self,
        text: Any,
        truncation: Truncation,
        *,
        side: str,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
    ) -> list[Encoding]:
        """Encode a text in windows that cover it; of a pair, each window of the one with each window of the other.

        Args:
            text: As for `encode_truncated`.
            truncation: The length of a window, and the tokens that neighbours share.
            side: The end of the text that the last window covers.
            add_special_tokens: As for `encode_truncated`.
            is_split_into_words: As for `encode_truncated`.

        Raises:
            InputError: As for `encode_truncated`.
            OptionError: As for `encode_truncated`.
        """
        side = truncation.side or side
        texts = _texts(text, words=is_split_into_words)
        room = self._room(len(texts) == 2, truncation, special=add_special_tokens)
        parts = self._parts(texts, [None] * len(texts), words=is_split_into_words)
        kept = _kept(parts, room, truncation)
        limits, stride = CURRENT_LIMITS.get(), truncation.stride
        counts = [window_count(len(part), tokens, stride) for part, tokens in zip(parts, kept, strict=True)]
        limits.expect_rows(prod(counts), prod(counts) * sum(kept))
        encodings = []
        for window in _combinations([windows_of(*part, stride, side=side) for part in zip(parts, kept, strict=True)]):
            limits.check()
            encodings.append(self._last_step.post_process(*window, add_special_tokens=add_special_tokens))
        return encodings

    def _room(self, is_pair: bool, truncation: Truncation, *, special: bool) -> int:
        """Return how many tokens of a text truncation keeps at most, special tokens excluded."""
        truncation.check_stride(special_tokens=self._backend.num_special_tokens_to_add(is_pair=False))
        added = self._backend.num_special_tokens_to_add(is_pair=is_pair) if special else 0
        room = truncation.max_length - added
        return sys.maxsize if room < 0 else room  # as the backend does: nothing is cut

    def _parts(self, texts: Sequence[Any], needed: Sequence[int | None], *, words: bool) -> list[Encoding]:
        """Return the encodings of texts, with at least the first tokens that are needed; None needs all tokens."""
        return [self._part(text, tokens, words=words) for text, tokens in zip(texts, needed, strict=True)]

    def _part(self, text: Any, needed: int | None, *, words: bool) -> Encoding:
        size = len(text)
        if needed is not None:
            needed += _SPARE_TOKENS
            size = _CHARACTERS_PER_TOKEN * needed
        while True:
            is_whole = 2 * size > len(text)
            (encoding,) = _encoded(self._raw, [text if is_whole else text[:size]], special=False, words=words)
            if needed is None or is_whole or len(encoding) >= needed:
                return encoding
            size *= 2


def _encoded(backend: Tokenizer, texts: Sequence[Any], *, special: bool, words: bool) -> list[Encoding]:
    CURRENT_LIMITS.get().admit_text(sum(map(_characters, texts)))
    try:
        with NATIVE_CALLS.lend():
            if len(texts) == 1 and isinstance(texts[0], str) and len(texts[0]) <= _SHORT_CHARACTERS:
                return [backend.encode(texts[0], add_special_tokens=special)]
            threads_used()
            return list(backend.encode_batch(list(texts), add_special_tokens=special, is_pretokenized=words))
    except BaseException as error:  # tokenizers raises a bare Exception, and if it panics no Exception
        raise encoding_error(error, texts) from error


def _kept(parts: Sequence[Encoding], room: int, truncation: Truncation) -> list[int]:
    """Return how many tokens of each text truncation keeps."""
    lengths = [len(part) for part in parts]
    kept = kept_lengths(lengths, room, truncation.strategy)
    for length, tokens in zip(lengths, kept, strict=True):
        if 0 < tokens < length and truncation.stride >= tokens:
            raise OptionError(
                f"A stride of {truncation.stride} tokens leaves no window of this text.",
                hint="Give a smaller stride or a larger max_length.",
            )
    return kept


def _combinations(windows: Sequence[Sequence[Encoding]]) -> list[tuple[Encoding, ...]]:
    """Return the windows of a text, or each window of a text with each window of its pair, in the order of the backend."""
    if len(windows) == 1:
        return [(window,) for window in windows[0]]
    (first, *others), (first_of_pair, *others_of_pair) = windows
    return [
        (first, first_of_pair),
        *product(others, [first_of_pair, *others_of_pair]),
        *((first, window) for window in others_of_pair),
    ]


def _texts(text: Any, *, words: bool) -> Sequence[Any]:
    """Return a text alone, or with its pair."""
    is_pair = isinstance(text, tuple) and not (words and all(isinstance(word, str) for word in text))
    return text if is_pair else (text,)


def _characters(text: Any) -> int:
    return len(text) if isinstance(text, str) else sum(map(_characters, text))
