"""When a row ends: by its length, a token, a text, or the clock."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import InputError, OptionError
from torchless.generation.config import GenerationConfig

__all__ = ["Decode", "Ending", "FinishReason", "ShouldContinue", "Stopping", "check_prompt", "ending"]

Decode: TypeAlias = Callable[[Sequence[int]], str]

# Asked between two steps, whether there is anybody to go on for.
ShouldContinue: TypeAlias = Callable[[], bool]

# What ended a row: its length or the clock, a token, or a text. The names are text-generation-inference's.
FinishReason: TypeAlias = Literal["length", "eos_token", "stop_sequence"]


class Ending(NamedTuple):
    """Where a row ended, and why.

    Attributes:
        tokens: How many were generated, with the one that ended it.
        reason: What ended it.
    """

    tokens: int
    reason: FinishReason


class Stopping:
    """What ends rows. The clock starts when this is made.

    Args:
        config: The options.
        max_length: The tokens of a row at most, the prompt's included.
        decode: Token ids to text, special tokens kept and nothing cleaned up; only `stop_strings` needs it.
        should_continue: Once it says no, all rows end.

    Raises:
        OptionError: There are stop strings, and nothing to decode with.

    Source: transformers 4.57.6, generation/stopping_criteria.py. A stop string counts where it ends in a row's last token,
    wherever it begins, in the prompt too. Unlike there, characters are whole where several tokens make one.
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
        self._texts: _StopStrings | None = None
        if config.stops:
            if decode is None:
                raise OptionError(
                    f"stop_strings={config.stop_strings!r} needs a tokenizer.",
                    hint="tokenizer=AutoTokenizer.from_pretrained(…)",
                )
            self._texts = _StopStrings(config.stops, decode)

    @property
    def needs_history(self) -> bool:
        """Whether more than a row's last token is looked at."""
        return self._texts is not None

    def ended(self, tokens: NDArray[np.int64], length: int, ids: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        """Say which rows end with their last token.

        Args:
            tokens: The last token of each row, (rows,).
            length: The tokens of a row with this one, the prompt's included.
            ids: The rows, (rows, length), where `needs_history`.

        Returns:
            (rows,).
        """
        late = self._deadline is not None and monotonic() > self._deadline
        if length >= self.max_length or late or (self._should_continue is not None and not self._should_continue()):
            return np.ones(len(tokens), dtype=bool)
        ended = np.array([token in self._eos for token in tokens.tolist()], dtype=bool)
        if self._texts is not None and ids is not None:
            ended |= self._texts.ended(ids)
        return ended


class _StopStrings:
    """Stop strings, looked for where a row's last token ends.

    Args:
        texts: What ends a row.
        decode: Token ids to text.
    """

    def __init__(self, texts: Sequence[str], decode: Decode) -> None:
        self._texts = texts
        self._decode = decode
        # A token stands for a byte at least; one more, since a decoder may take the first one's space away.
        self._tokens = max(len(text.encode()) for text in texts) + 1

    def ended(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.array([self.ends(row) for row in ids[:, -self._tokens :].tolist()], dtype=bool)

    def ends(self, ids: Sequence[int]) -> bool:
        """Say whether a row, or enough of its end, ends with its last token."""
        tail = ids[-self._tokens :]
        before, text = self._decode(tail[:-1]), self._decode(tail)
        same = next((at for at, pair in enumerate(zip(before, text, strict=False)) if pair[0] != pair[1]), len(before))
        return any(text.find(stop, max(0, same - len(stop) + 1)) >= 0 for stop in self._texts)


def ending(ids: Sequence[int], generated_from: int, config: GenerationConfig, *, decode: Decode) -> Ending:
    """Find where a row that was generated ended.

    Args:
        ids: The row, perhaps with padding after its end.
        generated_from: How many of its first tokens were not generated, or are known not to have ended it.
        config: The options it was generated by.
        decode: As of `Stopping`.

    Returns:
        The tokens from `generated_from` to the end, and the reason.
    """
    stops = _StopStrings(config.stops, decode) if config.stops else None
    for index in range(generated_from, len(ids)):
        tokens = index + 1 - generated_from
        if ids[index] in config.eos_token_ids:
            return Ending(tokens, "eos_token")
        if stops is not None and stops.ends(ids[: index + 1]):
            return Ending(tokens, "stop_sequence")
    return Ending(len(ids) - generated_from, "length")


def check_prompt(prompt_length: int, max_length: int) -> None:
    """Raise unless a prompt leaves room for a token.

    Args:
        prompt_length: The prompt's tokens, padding included.
        max_length: The tokens of a row at most.

    Raises:
        InputError: It does not.
    """
    if prompt_length >= max_length:
        raise InputError(
            f"The prompt has {prompt_length} tokens, and max_length={max_length} includes them.",
            hint="Give a shorter prompt, or max_new_tokens=64, which does not include them.",
        )
