"""Truncation: the options of a caller, and the part of a text that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from tokenizers import Encoding

from torchless.errors import InputError, OptionError, check_whole_number, nearest

__all__ = [
    "Truncation",
    "TruncationSide",
    "TruncationStrategy",
    "kept_lengths",
    "kept_part",
    "read_truncation",
    "window_count",
    "windows_of",
]

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

    def check_stride(self, *, special_tokens: int) -> None:
        """Raise if no window has room for more than what it shares with its neighbour.

        Args:
            special_tokens: The number of special tokens of a window.

        Raises:
            OptionError: The stride is not smaller than the window.
        """
        if 0 <= self.max_length - special_tokens < self.stride:
            raise OptionError(
                f"max_length={self.max_length} with stride={self.stride} makes no window.",
                hint="Give a larger max_length or a smaller stride.",
            )


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


def kept_lengths(lengths: Sequence[int], room: int, strategy: TruncationStrategy) -> list[int]:
    """Return how many tokens truncation keeps of a text, or of a text and its pair.

    Args:
        lengths: The tokens of each, special tokens excluded. Any number above `room` stands for all of them, except for a
            pair with two such numbers and an odd `room`.
        room: The most tokens of all together.
        strategy: Which of them are cut.

    Raises:
        InputError: The text that is to be cut is missing, or is too short.

    Source: `truncate_encodings` of tokenizers 0.22, utils/truncation.rs.
    """
    excess = sum(lengths) - room
    if excess <= 0 or strategy == "do_not_truncate":
        return list(lengths)
    if not room:
        return [0] * len(lengths)
    if strategy == "longest_first" and len(lengths) == 1:
        return [room]
    if strategy == "longest_first":
        short = min(lengths)
        long = max(short, room - short)
        if short + long > room:
            short, long = room // 2, room - room // 2
        return [short, long] if lengths[0] <= lengths[1] else [long, short]
    target = 0 if strategy == "only_first" else 1
    if target == len(lengths):
        raise InputError(
            "The tokenizer cannot encode this: there is no second text to cut.", hint="Give truncation='longest_first'."
        )
    if lengths[target] <= excess:
        raise InputError(
            f"The tokenizer cannot encode this: a limit of {room} tokens without special tokens leaves nothing of the "
            f"{'second' if target else 'first'} text.",
            hint="If the pair is longer than the limit, truncation='longest_first'.",
        )
    kept = list(lengths)
    kept[target] -= excess
    return kept


def window_count(tokens: int, width: int, stride: int) -> int:
    """Return the number of windows that cover a text.

    Args:
        tokens: The tokens of the text.
        width: The tokens of a window.
        stride: The tokens that neighbouring windows share, fewer than `width`.
    """
    if tokens <= width:
        return 1
    return 2 if not width else 1 + -(-(tokens - width) // (width - stride))


def kept_part(encoding: Encoding, tokens: int, *, side: str) -> Encoding:
    """Return the part of an encoding that truncation keeps, without what is cut.

    Args:
        encoding: An encoding without special tokens. It changes.
        tokens: The tokens to keep.
        side: The end that is cut.
    """
    cut = len(encoding) - tokens
    if cut <= 0:
        return encoding
    if not tokens:
        return Encoding.merge([], growing_offsets=False)
    # `truncate` keeps what it cuts as windows. Cut at the other end, the second and last window is the part to keep.
    width = max(tokens, cut)
    encoding.truncate(width, stride=width - cut, direction="left" if side == "right" else "right")
    return encoding.overflowing[0]


def windows_of(encoding: Encoding, tokens: int, stride: int, *, side: str) -> list[Encoding]:
    """Return the windows of an encoding; the first is what truncation keeps.

    Args:
        encoding: An encoding without special tokens. It changes.
        tokens: The tokens of a window.
        stride: The tokens that neighbouring windows share.
        side: The end that truncation cuts.
    """
    first = kept_part(Encoding.merge([encoding], growing_offsets=False), tokens, side=side)
    encoding.truncate(tokens, stride=stride, direction=side)
    return [first, *encoding.overflowing]
