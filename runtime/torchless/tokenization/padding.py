"""Padding: the width of rows, and the tokens that fill them."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, get_args

from tokenizers import Encoding

from torchless.call_limits import CURRENT_LIMITS
from torchless.errors import OptionError, nearest

__all__ = ["NO_LIMIT_ABOVE", "PadToken", "Padding", "pad_encodings", "padded_width"]

NO_LIMIT_ABOVE = int(1e20)
"""`transformers` takes a length above this one for no limit."""

_MAX_WIDTH = (
    2**20
)  # tokens: no model takes a longer row, and the padding of a much longer one would not fit into memory

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
        raise OptionError(f"padding={padding!r} is not a strategy.", hint=nearest(strategy, get_args(Padding)))
    if strategy == "do_not_pad":
        return None
    width = max(lengths, default=0) if strategy == "longest" else max_length
    return -(-width // multiple_of) * multiple_of


class PadToken(Protocol):
    """A tokenizer's padding token.

    Attributes:
        pad_token: The token, or None.
        pad_token_id: Its id.
        pad_token_type_id: Its token type.
    """

    pad_token: str | None
    pad_token_id: int | None
    pad_token_type_id: int


def pad_encodings(encodings: Sequence[Encoding], width: int, token: PadToken, *, side: str) -> None:
    """Fill encodings up in place.

    Args:
        encodings: The rows.
        width: The tokens of each row afterwards; a width that means no limit pads nothing.
        token: What the rows are filled with.
        side: `right` or `left`.

    Raises:
        OptionError: The tokenizer has no padding token, or the width is not possible.
    """
    if token.pad_token_id is None:
        raise OptionError(
            "This tokenizer has no padding token.",
            hint="Give one text at a time without padding, or add a pad_token to tokenizer_config.json.",
        )
    if width > NO_LIMIT_ABOVE:
        return
    if width > _MAX_WIDTH:
        raise OptionError(
            f"A row cannot be padded to {width} tokens: {_MAX_WIDTH} are the most.", hint="Give a smaller max_length."
        )
    CURRENT_LIMITS.get().expect_width(width)
    for encoding in encodings:
        encoding.pad(
            width,
            direction=side,
            pad_id=token.pad_token_id,
            pad_type_id=token.pad_token_type_id,
            pad_token=token.pad_token,
        )
