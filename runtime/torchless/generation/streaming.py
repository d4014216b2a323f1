"""Token ids in, text out that is safe to print: never half a character, and never what a later token changes."""

import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol

from torchless.tokenization.clean_up import CleanUpStream
from torchless.tokenization.tokenizer import Tokenizer

__all__ = ["TextStream", "TextUntil"]

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


class TextStream:
    """One row's tokens on their way to text. The pieces, joined, are `tokenizer.decode` of all tokens, to the character.

    The work of a token does not grow with the tokens before it.

    Args:
        tokenizer: The tokenizer that decodes.
        skip_special_tokens: Leave out the model's own tokens.
        clean_up_tokenization_spaces: Remove spaces before punctuation; by default as the checkpoint says.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> None:
        self._skipped = tokenizer.skipped_ids if skip_special_tokens else frozenset()
        self._texts: _Texts = _Bytes(tokenizer) if tokenizer.decoders == ("ByteLevel",) else _Tail(tokenizer)
        should_clean = tokenizer.clean_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        self._clean = CleanUpStream() if should_clean else None

    def push(self, token_ids: Iterable[int]) -> str:
        """Return the text that these tokens, after those before, have settled.

        Args:
            token_ids: Any number.

        Returns:
            What can be printed now, perhaps nothing.
        """
        text = "".join(self._texts.push(index) for index in map(int, token_ids) if index not in self._skipped)
        return text if self._clean is None else self._clean.push(text)

    def finish(self) -> str:
        """Return what was held back, now that no token follows."""
        text = self._texts.finish()
        return text if self._clean is None else self._clean.push(text) + self._clean.finish()


class TextUntil:
    """Text up to the first of some stops, which is left out; what may begin one is held back until it is known.

    Args:
        stops: Texts, none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self._found = False

    def push(self, piece: str) -> str:
        """Return the text that this piece, after those before, has settled."""
        if self._found:
            return ""
        text = self._held + piece
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:  # of several stops, the one that is whole first: what follows may not be known yet
            self._found, self._held = True, ""
            return text[: min(ends)[1]]
        begun = (size for stop in self._stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
        known = len(text) - max(begun, default=0)
        self._held = text[known:]
        return text[:known]

    def finish(self) -> str:
        """Return what was held back, now that no text follows."""
        held, self._held = self._held, ""
        return held


class _Texts(Protocol):
    """What settles the text of tokens, before it is cleaned."""

    def push(self, token_id: int) -> str: ...

    def finish(self) -> str: ...


class _Bytes:
    """A byte-level vocabulary: tokens are bytes, and a character may be spread over several of them.

    Source: the decoder `ByteLevel` of tokenizers 0.22, which replaces what is no UTF-8 as Python does.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        return "" if token is None else self._utf8.decode(_bytes_of(token))

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


class _Tail:
    """Any other vocabulary: a token's text is what it adds to the token before it, a space or none between the two.

    But where single bytes have tokens of their own, a run of them is one text, known at its end.
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
        known = len(self._decoded(self._before))
        text = self._decoded([*self._before, *self._run])[known:]
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
    """The byte that each character of a byte-level vocabulary stands for: its own, or else the next one above 255.

    Source: `bytes_to_unicode` of GPT-2.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


def _bytes_of(token: str) -> bytes:
    """Return the bytes of a token; one with a character of no byte was added as text."""
    alphabet = _byte_alphabet()
    return bytes(map(alphabet.__getitem__, token)) if alphabet.keys() >= set(token) else token.encode()
