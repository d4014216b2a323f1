"""How wide rows become."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from torchless.errors import OptionError, nearest

__all__ = ["Padding", "padded_width"]

Padding: TypeAlias = Literal["longest", "max_length", "do_not_pad"]


def padded_width(
    lengths: Sequence[int], padding: bool | Padding | None, max_length: int, *, multiple_of: int = 1
) -> int | None:
    """Return the tokens that every row is padded to; None if rows are left as they are.

    Args:
        lengths: The rows' own, in tokens.
        padding: True or `longest` pads to the longest row, `max_length` to `max_length`.
        max_length: In tokens.
        multiple_of: Round up to a multiple of this many tokens.

    Raises:
        OptionError: There is no such strategy.
    """
    strategy = "longest" if padding is True else padding or "do_not_pad"
    if strategy not in get_args(Padding):
        raise OptionError(f"padding={padding!r} is no strategy.", hint=nearest(strategy, get_args(Padding)))
    if strategy == "do_not_pad":
        return None
    width = max(lengths, default=0) if strategy == "longest" else max_length
    return -(-width // multiple_of) * multiple_of
