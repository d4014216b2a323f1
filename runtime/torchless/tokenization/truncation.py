"""Truncation: the options of a caller, and the setting of the tokenizer."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tokenizers import Tokenizer

from torchless.errors import OptionError, check_whole_number, nearest

__all__ = ["Truncation", "TruncationSide", "TruncationStrategy", "enable_truncation", "read_truncation"]

TruncationSide: TypeAlias = Literal["left", "right"]
TruncationStrategy: TypeAlias = Literal["longest_first", "only_first", "only_second", "do_not_truncate"]


@dataclass(frozen=True, slots=True)
class Truncation:
    """A text is cut to `max_length` tokens, special ones included; windows of it overlap by `stride` tokens.

    What is cut is at its end (`side` is `right`) or beginning (`left`); None leaves that to the tokenizer.
    """

    max_length: int
    strategy: TruncationStrategy = "longest_first"
    stride: int = 0
    side: TruncationSide | None = None


def read_truncation(
    truncation: Any,
    *,
    max_length: int | None,
    stride: int,
    model_max_length: int | None,
    side: TruncationSide | None = None,
) -> Truncation | None:
    """Read `truncation=`, `max_length=` and `stride=` as `transformers` does.

    Args:
        truncation: A strategy's name, True for `longest_first`, False or None for none.
        max_length: In tokens; by default `model_max_length`.
        stride: The tokens that windows overlap by.
        model_max_length: What the tokenizer declares, None if it has no limit: then nothing is cut by default.
        side: What is cut, the `right` end or the `left`; by default as the tokenizer says. Not in the reference.

    Raises:
        OptionError: There is no such strategy or side, or a value is not a number.

    Source: `_get_padding_truncation_strategies` in transformers 4.57.6, tokenization_utils_base.py.
    """
    if side not in (None, *get_args(TruncationSide)):
        raise OptionError(f"truncation_side={side!r} is not a side.", hint=nearest(side, get_args(TruncationSide)))
    if not truncation and max_length is None and not stride:
        return None
    strategy: Any = "longest_first" if truncation is True else truncation or "do_not_truncate"
    if strategy not in get_args(TruncationStrategy):
        raise OptionError(
            f"truncation={truncation!r} is not a strategy.", hint=nearest(strategy, get_args(TruncationStrategy))
        )
    check_whole_number("max_length", max_length, at_least=0, hint="Give a number of tokens.")
    check_whole_number("stride", stride, at_least=0, hint="Give a number of tokens.")
    length = model_max_length if max_length is None else max_length
    if strategy == "do_not_truncate" or length is None:
        return None
    return Truncation(length, strategy, stride, side)


def enable_truncation(backend: Tokenizer, truncation: Truncation | None, *, side: str) -> None:
    """Let a tokenizer cut texts.

    Args:
        backend: The tokenizer of the package tokenizers.
        truncation: How texts are cut; None cuts nothing.
        side: The end that is cut unless `truncation` says which.

    Raises:
        OptionError: The stride is not smaller than what is left of a text.
    """
    backend.no_truncation()
    if truncation is None:
        return
    try:
        backend.enable_truncation(
            truncation.max_length,
            stride=truncation.stride,
            strategy=truncation.strategy,
            direction=truncation.side or side,
        )
    except Exception as error:  # tokenizers raises a bare Exception
        raise OptionError(
            f"max_length={truncation.max_length} with stride={truncation.stride} makes no window: {error}.",
            hint="Give a larger max_length or a smaller stride.",
        ) from error
