"""Greedy search and sampling: one loop over the steps of a model."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchless.generation.logits_processors import LogitsProcessor
from torchless.generation.steps import Steps
from torchless.generation.stopping import Stopping

__all__ = ["Choice", "Step", "likeliest", "search"]

Choice = Callable[[NDArray[np.float32]], NDArray[np.int64]]


class Step(NamedTuple):
    """The result of one step.

    Attributes:
        tokens: The token of each row, (rows,); padding for rows that ended before.
        counts: Whether the token belongs to its row, (rows,); false for padding.
    """

    tokens: NDArray[np.int64]
    counts: NDArray[np.bool_]


def likeliest(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose the token with the highest score in each row, the first if scores are equal: (rows, vocabulary) to (rows,)."""
    return np.asarray(scores.argmax(axis=-1))


def search(
    steps: Steps,
    ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
    *,
    processors: Sequence[LogitsProcessor],
    choose: Choice,
    stopping: Stopping,
    pad_token_id: int,
    copies: int = 1,
) -> Iterator[Step]:
    """Choose tokens one after another until all rows have ended.

    A step runs only when the caller requests it from the iterator.

    Args:
        steps: The model, before its first step.
        ids: The prompts, (prompts, tokens), padded on the left.
        attention_mask: 1 for a token and 0 for padding, (prompts, tokens).
        processors: Functions that change the scores before the choice.
        choose: From scores, (rows, vocabulary), to tokens, (rows,).
        stopping: The rules that end a row.
        pad_token_id: The token that fills a row after its end.
        copies: The number of rows for each prompt.

    Yields:
        The result of each step.

    Source: `_sample` in transformers 4.57.6, generation/utils.py. Unlike there, a row that a stop string ended is padded
    even if the model has no end-of-text token.
    """
    logits, length = steps.begin(ids, attention_mask), ids.shape[1]
    parents: NDArray[np.int64] | None = None
    if copies > 1:
        parents = np.repeat(np.arange(len(ids)), copies)
        logits, ids = logits[parents], ids[parents]
    counts = np.ones(len(ids), dtype=bool)
    keep_history = bool(processors) or stopping.needs_history
    history = np.concatenate([ids, np.zeros_like(ids)], axis=1)  # (rows, capacity), the first `length` columns filled
    while True:
        for process in processors:
            logits = process(history[:, :length], logits)
        tokens = choose(logits)
        if not counts.all():
            tokens[~counts] = pad_token_id
        if keep_history:
            if length == history.shape[1]:
                history = np.concatenate([history, np.zeros_like(history)], axis=1)
            history[:, length] = tokens
        length += 1
        yield Step(tokens, counts)
        counts = counts & ~stopping.ended(tokens, length, history[:, :length] if keep_history else None)
        if not counts.any():
            return
        logits = steps.advance(tokens, parents)
        parents = None
