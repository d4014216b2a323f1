"""Streams that turn token ids into pieces of text that no later token changes."""

import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from functools import cache

from torchless.tokenization.clean_up import CleanUpStream
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["TextStream", "TextUntil", "text_until"]

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class TextStream:
    """Decodes the tokens of one row as they come. The joined pieces equal `tokenizer.decode` of all tokens.

    The time for a token does not grow with the number of earlier tokens.

    Args:
        tokenizer: The tokenizer that decodes.
        skip_special_tokens: Leave out special tokens.
        clean_up_tokenization_spaces: Remove spaces before punctuation; by default the tokenizer's setting.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> None:
        self._skipped = tokenizer.skipped_ids if skip_special_tokens else frozenset()
        self._decoder = _ByteDecoder(tokenizer) if tokenizer.decoders == ("ByteLevel",) else _TailDecoder(tokenizer)
        should_clean = tokenizer.clean_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        self._clean = CleanUpStream() if should_clean else None

    def push(self, token_ids: Iterable[int]) -> str:
        """Add tokens, and return the new text that is final; it may be empty."""
        text = "".join(self._decoder.push(index) for index in map(int, token_ids) if index not in self._skipped)
        return text if self._clean is None else self._clean.push(text)

    def finish(self) -> str:
        """Return the rest of the text, after the last token."""
        text = self._decoder.finish()
        return text if self._clean is None else self._clean.push(text) + self._clean.finish()


def text_until(text: str, stops: Sequence[str]) -> str:
    """Return a whole text up to the first stop, as `TextUntil` cuts a text that comes in pieces."""
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)[1]] if ends else text


class TextUntil:
    """Cuts a text that comes in pieces before the first stop. An end of the text that can begin a stop is held back.

    Args:
        stops: The texts to stop at; none is empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._matches = [_PrefixMatch(stop) for stop in stops]
        self._held = ""
        self._found = False

    def push(self, piece: str) -> str:
        """Add a piece, and return the new text that is final; it may be empty.

        The time for a piece does not grow with the length of the stops.
        """
        if self._found:
            return ""
        text, begin = self._held + piece, len(self._held)
        for end, character in enumerate(piece, begin + 1):
            found = [match for match in self._matches if match.push(character)]
            if found:  # of several stops that end here, take the longest
                self._found, self._held = True, ""
                return text[: end - max(match.size for match in found)]
        final = len(text) - max((match.size for match in self._matches), default=0)
        self._held = text[final:]
        return text[:final]

    def finish(self) -> str:
        """Return the text that was held back, after the last piece."""
        held, self._held = self._held, ""
        return held


class _PrefixMatch:
    """Finds how much of a stop's beginning is at the end of a text, whose characters come one after another.

    Args:
        stop: The stop.

    Attributes:
        size: The length of the longest beginning of the stop that is at the end of the text.

    Source: the algorithm of Knuth, Morris and Pratt.
    """

    def __init__(self, stop: str) -> None:
        self.size = 0
        self._stop = stop
        self._borders = [0, 0]  # for each length, how much of that beginning is also at its end

    def push(self, character: str) -> bool:
        """Add a character, and return whether the whole stop is at the end of the text; then the search ends."""
        self.size = self._continued(self.size, character)
        if self.size == len(self._borders):
            self._borders.append(self._continued(self._borders[-1], character))
        return self.size == len(self._stop)

    def _continued(self, size: int, character: str) -> int:
        while size and self._stop[size] != character:
            size = self._borders[size]
        return size + (self._stop[size] == character)


class _ByteDecoder:
    """Decodes a byte-level vocabulary: a token is a sequence of bytes, and a character can have several tokens.

    Source: the decoder `ByteLevel` of tokenizers 0.22, which replaces invalid UTF-8 as Python does.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        return "" if token is None else self._utf8.decode(_bytes_of(token))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _TailDecoder:
    """Decodes any other vocabulary: the text of a token is the text that it adds after the token before it.

    Tokens of single bytes are collected, and decoded together with the next token that is not a byte.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._run: list[int] = []

    def push(self, token_id: int) -> str:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        if token is None:
            return ""
        self._run.append(token_id)
        return "" if self._is_bytes(token) else self.finish()

    def finish(self) -> str:
        if not self._run:
            return ""
        text = self._decoded([*self._before, *self._run])[len(self._decoded(self._before)) :]
        self._before, self._run = self._run[-1:], []
        return text

    def _is_bytes(self, token: str) -> bool:
        decoders = self._tokenizer.decoders
        return ("ByteFallback" in decoders and _BYTE.fullmatch(token) is not None) or (
            "ByteLevel" in decoders and not _bytes_of(token).isascii()
        )

    def _decoded(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, clean_up_tokenization_spaces=False) if token_ids else ""


@cache
def _byte_alphabet() -> dict[str, int]:
    """Return the byte of each character of a byte-level vocabulary. Unprintable bytes have the characters from 256.

    Source: `bytes_to_unicode` of GPT-2.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    unprintable = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(unprintable)}


def _bytes_of(token: str) -> bytes:
    """Return the bytes of a token. A token with a character outside the byte alphabet was added as text."""
    alphabet = _byte_alphabet()
    return bytes(map(alphabet.__getitem__, token)) if alphabet.keys() >= set(token) else token.encode()
