"""The options that tasks share, and the functions that change options."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final, TypeVar

from torchless.errors import OptionError, nearest
from torchless.tokenization.tokenizer import Padding, Tokenizer
from torchless.tokenization.truncation import Truncation, TruncationSide, TruncationStrategy

__all__ = ["NOT_GIVEN", "NotGiven", "TokenizerOptions", "updated", "without_none"]

OptionsT = TypeVar("OptionsT")


class NotGiven(Enum):
    """The type of `NOT_GIVEN`."""

    NOT_GIVEN = "not given"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN
"""The default of an option for which None has another meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerOptions:
    """The options of the tokenizer, for tasks that have them.

    Attributes:
        truncation: True or a strategy cuts a text that is too long; by default such a text is an error.
        max_length: The most tokens of a text that is cut, special tokens included; by default the tokenizer's limit.
        truncation_side: The end of the text that is cut, `right` or `left`; by default the tokenizer's setting. Not in the
            reference.
        padding: Accepted as in the reference; it does not change the result, since rows are padded only within a batch.
        add_special_tokens: Add the special tokens of the model.
    """

    truncation: bool | TruncationStrategy | None = None
    max_length: int | None = None
    truncation_side: TruncationSide | None = None
    padding: bool | Padding = False
    add_special_tokens: bool = True

    def read_truncation(self, tokenizer: Tokenizer) -> Truncation | None:
        """Return how texts are cut; None if they are not cut.

        Raises:
            OptionError: There is no such strategy or side, or `max_length` is not possible.
        """
        implied = self.max_length is not None and self.padding is False
        return tokenizer.truncation(
            self.truncation, max_length=self.max_length, implied=implied, side=self.truncation_side
        )


def without_none(changes: Mapping[str, Any], names: Container[str] | None = None) -> dict[str, Any]:
    """Return changes without those that are None, for options for which None means that the caller gave no value.

    Args:
        changes: The new values by name.
        names: The names of these options; by default all.
    """
    return {
        name: value for name, value in changes.items() if value is not None or (names is not None and name not in names)
    }


def updated(options: OptionsT, changes: Mapping[str, Any], *, called: Callable[..., Any] | str) -> OptionsT:
    """Return options with some of them changed.

    Args:
        options: A dataclass of options.
        changes: The new values by name.
        called: The name of the pipeline or tokenizer, for the error.

    Raises:
        OptionError: There is no such option, or a value is not possible. The hint lists the valid options.
    """
    if not changes:
        return options
    valid = [field.name for field in fields(options)]  # type: ignore[arg-type]
    for name in changes:
        if name not in valid:
            raise OptionError(f"{called} has no option {name!r}.", hint=nearest(name, valid))
    return replace(options, **changes)  # type: ignore[type-var]
