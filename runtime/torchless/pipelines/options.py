"""What options are made of: frozen values that check themselves, and the one way to change them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final, TypeVar

from torchless.errors import OptionError, nearest
from torchless.tokenization.tokenizer import Padding, Tokenizer
from torchless.tokenization.truncation import Truncation, TruncationSide, TruncationStrategy

__all__ = ["NOT_GIVEN", "NotGiven", "TokenizerOptions", "updated"]

OptionsT = TypeVar("OptionsT")


class NotGiven(Enum):
    """The type of `NOT_GIVEN`."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN
"""The value of an option that the caller left out, where None would mean something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerOptions:
    """How a text becomes tokens, for the tasks that leave it to the caller.

    Attributes:
        truncation: True or a strategy cuts a text that is too long; by default such a text is an error.
        max_length: What it is cut to, in tokens, special ones included; by default what the tokenizer declares.
        truncation_side: What is cut, its `right` end or its `left`; by default as the tokenizer says. Not in the reference.
        padding: Accepted as the reference accepts it, and without effect on an answer: rows are padded only within
            their batch.
        add_special_tokens: Add the model's own tokens.
    """

    truncation: bool | TruncationStrategy | None = None
    max_length: int | None = None
    truncation_side: TruncationSide | None = None
    padding: bool | Padding = False
    add_special_tokens: bool = True

    def read_truncation(self, tokenizer: Tokenizer) -> Truncation | None:
        """Return how texts are cut, or None.

        Raises:
            OptionError: There is no such strategy or side, or a number is none.
        """
        implied = self.max_length is not None and self.padding is False
        return tokenizer.truncation(
            self.truncation, max_length=self.max_length, implied=implied, side=self.truncation_side
        )


def updated(options: OptionsT, changes: Mapping[str, Any], *, called: Callable[..., Any] | str) -> OptionsT:
    """Return options with some of them changed.

    Args:
        options: A dataclass of options.
        changes: The new values by name.
        called: What the caller called, for the error.

    Raises:
        OptionError: There is no such option (the hint lists those that exist), or a value is not possible.
    """
    if not changes:
        return options
    valid = [field.name for field in fields(options)]  # type: ignore[arg-type]
    for name in changes:
        if name not in valid:
            raise OptionError(f"{called} has no option {name!r}.", hint=nearest(name, valid))
    return replace(options, **changes)  # type: ignore[type-var]
