"""Whether the padding that a batch gives to a row changes the row's answer: measured with two runs."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchless.errors import InputError

__all__ = ["LONG", "Answer", "padding_changes_answers"]

Answer: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64], int], Sequence[NDArray[Any]]]
"""From token ids and mask, (rows, tokens), and how many tokens the first row has, to that row's answers without padding."""

_SHORT, LONG = 7, 19
# How far an answer may be from that of the row alone, relative to its scale: more than the rounding of float16.
_TOLERANCE = 5e-3


def padding_changes_answers(
    answer: Answer,
    *,
    vocab_size: int,
    pad_token_id: int,
    padding_side: Literal["left", "right"],
    max_tokens: int | None,
    long: int = LONG,
) -> bool:
    """Run a short row alone, and beside a longer row, and return whether its answers differ.

    Args:
        answer: Runs the model.
        vocab_size: The tokens that the model knows.
        pad_token_id: The token that fills a row.
        padding_side: Where the model's rows are filled.
        max_tokens: The most tokens that the model takes; None without a limit.
        long: The tokens of the longer row.

    Returns:
        Whether they differ by more than rounding, or the model cannot run the two together.
    """
    long = long if max_tokens is None else min(long, max_tokens)
    short = min(_SHORT, long - 1)
    if short < 1:
        return False
    tokens = np.arange(vocab_size // 3, vocab_size // 3 + long) % vocab_size
    tokens[tokens == pad_token_id] = (pad_token_id + 1) % vocab_size
    width = (long - short, 0) if padding_side == "left" else (0, long - short)
    batch = np.stack([np.pad(tokens[:short], width, constant_values=pad_token_id), tokens])  # (2, long)
    mask = np.stack([np.pad(np.ones(short, np.int64), width), np.ones(long, np.int64)])  # (2, long)
    try:
        alone = answer(tokens[None, :short], np.ones((1, short), np.int64), short)
        together = answer(batch, mask, short)
    except InputError:  # a graph of one row, or of values that are not numbers
        return True
    return any(_differ(first, second) for first, second in zip(alone, together, strict=True))


def _differ(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return not bool(np.abs(first - second).max(initial=0) <= _TOLERANCE * np.abs(first).max(initial=0))
