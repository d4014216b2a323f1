"""The budget of a request: what its work on a model may cost, and whether it still goes on."""

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from torchless.call_limits import CURRENT_LIMITS, CallLimits
from torchless.errors import InputError
from torchless.generation.config import GenerationConfig
from torchless.server.exceptions import LimitError

__all__ = ["BudgetError", "RequestBudget", "SmallBudget", "check_stops", "work_within"]

# A text has fewer characters for each token, white space aside; a longer text would be tokenized only to be refused.
_CHARACTERS_PER_TOKEN = 8
# Up to these limits, the steps of a request take a millisecond or less, which is as long as the way to a thread and back.
_SMALL_CHARACTERS = 1024
_SMALL_ROWS = 16
_SMALL_TOKENS = 512
# What a step of generation costs grows with these.
_MAX_STOPS = 16
_MAX_STOP_CHARACTERS = 1000
_MAX_EOS_TOKENS = 256

T = TypeVar("T")


class RequestBudget(CallLimits):
    """The limits of a request. Its methods raise `CancelledError` once the request has ended.

    Args:
        max_tokens: The most tokens of all rows, padding included.
        max_width: The most tokens of a row.
        max_values: The most values of the results.
    """

    def __init__(self, *, max_tokens: int, max_width: int, max_values: int) -> None:
        self._max_tokens = max_tokens
        self._max_width = max_width
        self._max_values = max_values
        self._characters = 0
        self._tokens = 0
        self._values = 0
        self._ended = False
        self._running: Future[Any] | None = None

    @property
    def values(self) -> int:
        """The number of values of the results, or a bound of it."""
        return self._values

    def end(self) -> None:
        """Stop the work: nobody waits for it any more."""
        self._ended = True
        self._cancel()

    def watch(self, running: Future[Any]) -> None:
        """Cancel some work, which another thread has begun, if the request ends."""
        self._running = running
        if self._ended:  # meanwhile
            self._cancel()

    def _cancel(self) -> None:
        if self._running is not None:
            self._running.cancel()

    def admit_text(self, characters: int) -> None:
        """Count a text by its characters.

        Raises:
            LimitError: The request has too many characters.
        """
        self.check()
        self._characters += characters
        limit = _CHARACTERS_PER_TOKEN * self._max_tokens
        if self._characters > limit:
            raise LimitError(
                f"The request has {self._characters} characters to tokenize, and the limit is {limit}: "
                f"{_CHARACTERS_PER_TOKEN} for each of {self._max_tokens} tokens.",
                hint="Send shorter texts or several requests, or start the server with a larger --max-request-tokens.",
            )

    def admit_row(self, tokens: int) -> None:
        """Count a row by its tokens.

        Raises:
            LimitError: The request has too many tokens.
        """
        self.check()
        self._tokens += tokens
        self._check_tokens(self._tokens)

    def expect_rows(self, rows: int, tokens: int) -> None:
        """Check rows by their number and the fewest tokens of all together.

        Raises:
            LimitError: The request needs too many tokens.
        """
        self.check()
        self._check_tokens(self._tokens + max(rows, tokens))

    def expect_width(self, tokens: int) -> None:
        """Check the tokens of a row that will be padded.

        Raises:
            InputError: The row would be too long.
        """
        if tokens > self._max_width:
            raise InputError(
                f"The text is padded to {tokens} tokens, and the limit of this server is {self._max_width}.",
                hint=f"Give max_length={self._max_width} or less, or start the server with a larger --max-input-length.",
            )

    def admit_values(self, values: int) -> None:
        """Count the values of a result.

        Raises:
            LimitError: The answer is too large.
        """
        self._values += values
        if self._values > self._max_values:
            raise LimitError(
                f"The answer could have {self._values} values, and the limit is {self._max_values}.",
                hint="Give a smaller top_k, send less, or start the server with a larger --max-answer-values.",
            )

    def check(self) -> None:
        """Raise if the request has ended.

        Raises:
            CancelledError: It has.
        """
        if self._ended:
            raise CancelledError

    def _check_tokens(self, tokens: int) -> None:
        if tokens > self._max_tokens:
            raise LimitError(
                f"The request needs at least {tokens} tokens, and the limit is {self._max_tokens}.",
                hint="Send fewer or shorter texts, labels or windows, or start the server with a larger "
                "--max-request-tokens.",
            )


class BudgetError(Exception):
    """Work is too long for a `SmallBudget`."""


class SmallBudget(CallLimits):
    """The limits of work that is short enough for the event loop. Its methods raise `BudgetError` beyond them.

    Attributes:
        values: The number of values of the results, or a bound of it; it has no limit here.
    """

    def __init__(self) -> None:
        self._left = {"characters": _SMALL_CHARACTERS, "rows": _SMALL_ROWS, "tokens": _SMALL_TOKENS}
        self.values = 0

    def admit_text(self, characters: int) -> None:
        """Count a text by its characters."""
        self._spend("characters", characters)

    def admit_row(self, tokens: int) -> None:
        """Count a row by its tokens."""
        self._spend("rows", 1)
        self._spend("tokens", tokens)

    def expect_rows(self, rows: int, tokens: int) -> None:
        """Check rows by their number and the fewest tokens of all together."""
        if rows > self._left["rows"] or tokens > self._left["tokens"]:
            raise BudgetError

    def expect_width(self, tokens: int) -> None:
        """Check the tokens of a row that will be padded."""
        self.expect_rows(1, tokens)

    def admit_values(self, values: int) -> None:
        """Count the values of a result."""
        self.values += values

    def _spend(self, name: str, amount: int) -> None:
        self._left[name] -= amount
        if self._left[name] < 0:
            raise BudgetError


def work_within(limits: CallLimits, work: Callable[[], T]) -> T:
    """Return the result of some work, which keeps to these limits."""
    token = CURRENT_LIMITS.set(limits)
    try:
        return work()
    finally:
        CURRENT_LIMITS.reset(token)


def check_stops(config: GenerationConfig) -> None:
    """Raise if too much can end a generated text.

    Raises:
        LimitError: There are too many stop strings or tokens.
    """
    characters = sum(map(len, config.stops))
    if len(config.stops) > _MAX_STOPS or characters > _MAX_STOP_CHARACTERS:
        raise LimitError(
            f"The request has {len(config.stops)} stops of {characters} characters, and the limit is {_MAX_STOPS} stops of "
            f"{_MAX_STOP_CHARACTERS} characters.",
            hint="Give fewer or shorter stops.",
        )
    if len(config.eos_token_ids) > _MAX_EOS_TOKENS:
        raise LimitError(
            f"eos_token_id has {len(config.eos_token_ids)} tokens, and the limit is {_MAX_EOS_TOKENS}.",
            hint="Give fewer tokens.",
        )
