"""Windows that cover a long text, and the combination of their values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from torchless.batching.rows import Row
from torchless.errors import OptionError, check_whole_number, nearest
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.truncation import Truncation

__all__ = ["Combine", "Windows", "read_windows"]

Combine: TypeAlias = Literal["mean", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How windows cover a text that is longer than the model takes.

    Attributes:
        combine: `mean` takes the mean of the windows' values, weighted by their tokens; `max` takes the largest value.
        stride: The number of tokens that neighbouring windows share.
        max_length: The number of tokens of a window, special tokens included; by default the model's limit.
    """

    combine: Combine = "mean"
    stride: int = 64
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.combine not in get_args(Combine):
            raise OptionError(
                f"windows cannot be combined by {self.combine!r}.", hint=nearest(self.combine, get_args(Combine))
            )
        check_whole_number("stride", self.stride, at_least=0, hint="Give a number of tokens.")
        check_whole_number("max_length", self.max_length, at_least=1, hint="Give a number of tokens, or None.")

    def truncation(self, tokenizer: Tokenizer, max_tokens: int | None, *, pair: bool) -> Truncation:
        """Return the truncation that cuts a text into these windows.

        Args:
            tokenizer: The tokenizer, which adds special tokens.
            max_tokens: The most tokens that the model takes; None if it has no limit.
            pair: The text has a pair, which is repeated in each window.

        Raises:
            OptionError: The stride is not smaller than the window, or the window is longer than the model takes.
        """
        length = self.max_length or max_tokens
        if length is None:
            raise OptionError("This model has no limit on its input.", hint="Give windows=Windows(max_length=512, …).")
        if max_tokens is not None and length > max_tokens:
            raise OptionError(
                f"A window of {length} tokens is longer than this model takes.", hint=f"Give {max_tokens} or less."
            )
        room = length - tokenizer.num_special_tokens(pair=pair)
        if self.stride >= room:
            raise OptionError(
                f"stride={self.stride} is not smaller than the window, which has room for {room} tokens of the text.",
                hint=f"Give a stride below {room}, or a larger max_length.",
            )
        return Truncation(length, "only_first" if pair else "longest_first", self.stride)

    def combined(self, rows: Sequence[Row], values: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
        """Combine the values of the windows.

        Args:
            rows: The windows.
            values: The array of each window; all have the same shape.

        Returns:
            An array of this shape.
        """
        if len(values) == 1:
            return values[0]
        stacked = np.stack(values)  # (windows, …)
        if self.combine == "max":
            return np.asarray(stacked.max(axis=0))
        weights = np.array([max(row.text_tokens, 1) for row in rows], dtype=stacked.dtype)  # (windows,)
        return np.asarray(np.average(stacked, axis=0, weights=weights))


def read_windows(value: Any) -> Windows | None:
    """Read the option `windows`: None or False, True or `mean`, `max`, or `Windows`.

    Raises:
        OptionError: The value is not possible.
    """
    if value is None or value is False:
        return None
    if isinstance(value, Windows):
        return value
    return Windows() if value is True else Windows(combine=value)
