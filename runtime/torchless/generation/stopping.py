"""The rules that end a row: its length, a token, a text, or the time."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig

__all__ = ["Decode", "Ending", "FinishReason", "ShouldContinue", "Stopping", "ending"]

Decode: TypeAlias = Callable[[Sequence[int]], str]

# Called between two steps; it returns false when no caller needs the result any more.
ShouldContinue: TypeAlias = Callable[[], bool]

# The reason why a row ended: its length or the time, a token, or a text. The names are those of text-generation-inference.
FinishReason: TypeAlias = Literal["length", "eos_token", "stop_sequence"]


_FEW_TOKENS = 32
_UNCERTAIN_TOKENS = 4  # more than the tokens of a character


class Ending(NamedTuple):
    """Where a row ended, and why.

    Attributes:
        tokens: The number of generated tokens, with the token that ended the row.
        reason: The reason why it ended.
    """

    tokens: int
    reason: FinishReason


class Stopping:
    """The rules that end rows. The time of `max_time` starts when the object is created.

    Args:
        config: The options.
        max_length: The most tokens of a row, with the prompt.
        decode: From token ids to text, with special tokens and without clean-up; only `stop_strings` needs it.
        should_continue: When it returns false, all rows end.

    Raises:
        OptionError: There are stop strings and no `decode`.

    Source: transformers 4.57.6, generation/stopping_criteria.py. A stop string ends a row if its end is in the row's last
    token; its beginning may be in the prompt. Unlike there, a character of several tokens is compared as a whole.
    """

    def __init__(
        self,
        config: GenerationConfig,
        *,
        max_length: int,
        decode: Decode | None = None,
        should_continue: ShouldContinue | None = None,
    ) -> None:
        self.max_length = max_length
        self._should_continue = should_continue
        self._eos = frozenset(config.eos_token_ids)
        self._deadline = None if config.max_time is None else monotonic() + config.max_time
        self._stop_strings: _StopStrings | None = None
        if config.stops:
            if decode is None:
                raise OptionError(
                    f"stop_strings={config.stop_strings!r} needs a tokenizer.",
                    hint="tokenizer=AutoTokenizer.from_pretrained(…)",
                )
            self._stop_strings = _StopStrings(config.stops, decode)

    @property
    def needs_history(self) -> bool:
        """Whether `ended` needs all tokens of a row, not only the last one."""
        return self._stop_strings is not None

    def ended(self, tokens: NDArray[np.int64], length: int, ids: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Return which rows end with their last token, (rows,).

        Args:
            tokens: The last token of each row, (rows,).
            length: The number of tokens of a row, with the prompt and the last token.
            ids: The rows, (rows, length), if `needs_history`.
        """
        late = self._deadline is not None and monotonic() > self._deadline
        if length >= self.max_length or late or (self._should_continue is not None and not self._should_continue()):
            return np.ones(len(tokens), dtype=bool)
        ended = np.array([token in self._eos for token in tokens.tolist()], dtype=bool)
        if self._stop_strings is not None and ids is not None:
            ended |= self._stop_strings.ended(ids)
        return ended


class _StopStrings:
    """Stop strings that are searched in the text of a row's last tokens.

    Args:
        texts: The stop strings.
        decode: From token ids to text.

    Attributes:
        tokens: The most tokens at the end of a row that a stop string can have.
    """

    def __init__(self, texts: Sequence[str], decode: Decode) -> None:
        self._texts = texts
        self._decode = decode
        # A token has at least one byte. One more token is needed, since a decoder may remove the space of the first token.
        self.tokens = max(len(text.encode(errors="surrogatepass")) for text in texts) + 1

    def ended(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.array([self.ends(row) for row in ids[:, -self.tokens :].tolist()], dtype=bool)

    def ends(self, ids: Sequence[int]) -> bool:
        """Return whether a stop string ends in the last token of a row; the last tokens of the row are enough.

        Of long stop strings, first only the ends are compared, with few tokens.
        """
        size = min(self.tokens, _FEW_TOKENS)
        while True:
            tail = ids[-size:]
            before, text = self._decode(tail[:-1]), self._decode(tail)
            same = next(
                (at for at, pair in enumerate(zip(before, text, strict=False)) if pair[0] != pair[1]), len(before)
            )
            if size >= min(self.tokens, len(ids)):
                return any(text.find(stop, max(0, same - len(stop) + 1)) >= 0 for stop in self._texts)
            # The first tokens of the tail may have another text than in the row.
            certain = len(self._decode(tail[:_UNCERTAIN_TOKENS])) + _UNCERTAIN_TOKENS
            if not any(_may_end(stop, text, same, certain) for stop in self._texts):
                return False
            size *= 4


def _may_end(stop: str, text: str, same: int, certain: int) -> bool:
    """Return whether a stop string may end in a text after `same` characters, of which those before `certain` may differ."""
    for end in range(same + 1, len(text) + 1):
        known = text[max(certain, end - len(stop)) : end]
        if stop.endswith(known):
            return True
    return False


def ending(ids: Sequence[int], generated_from: int, config: GenerationConfig, *, decode: Decode) -> Ending:
    """Find where a generated row ended, and why.

    Args:
        ids: The row; padding may follow its end.
        generated_from: The number of first tokens that were not generated, or that did not end the row.
        config: The options of the generation.
        decode: As for `Stopping`.

    Returns:
        The number of tokens from `generated_from` to the end, and the reason.
    """
    stops = _StopStrings(config.stops, decode) if config.stops else None
    for index in range(generated_from, len(ids)):
        tokens = index + 1 - generated_from
        if ids[index] in config.eos_token_ids:
            return Ending(tokens, "eos_token")
        if stops is not None and stops.ends(ids[max(0, index + 1 - stops.tokens) : index + 1]):
            return Ending(tokens, "stop_sequence")
    return Ending(len(ids) - generated_from, "length")
