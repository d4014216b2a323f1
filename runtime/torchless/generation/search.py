"""Greedy search and sampling: one loop, as lazy as its caller."""

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
    """What one step gave.

    Attributes:
        tokens: One a row, (rows,); padding in rows that ended before.
        counts: Whether a row's token is part of it, (rows,).
    """

    tokens: NDArray[np.int64]
    counts: NDArray[np.bool_]


def likeliest(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Choose the token with the highest score in each row, of equal ones the first: (rows, vocabulary) to (rows,)."""
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
    """Choose tokens one after another, until every row has ended.

    A step runs when it is asked for: who stops asking stops the work.

    Args:
        steps: The model, at its beginning.
        ids: The prompts, (prompts, tokens), padded on the left.
        attention_mask: 1 where a token counts, (prompts, tokens).
        processors: What changes scores before the choice.
        choose: Scores to tokens, (rows, vocabulary) to (rows,).
        stopping: What ends a row.
        pad_token_id: What a row that has ended goes on with, while others have not.
        copies: The rows of each prompt.

    Yields:
        Each step's tokens, as soon as they are known.

    Source: `_sample` in transformers 4.57.6, generation/utils.py. Unlike there, a row that a stop string ended is padded
    also where the model has no end of text.
    """
    logits, length = steps.begin(ids, attention_mask), ids.shape[1]
    parents: NDArray[np.int64] | None = None
    if copies > 1:
        parents = np.repeat(np.arange(len(ids)), copies)
        logits, ids = logits[parents], ids[parents]
    counts = np.ones(len(ids), dtype=bool)
    remember = bool(processors) or stopping.needs_history
    history = np.empty((0, 0), dtype=np.int64)  # (rows, capacity), the first `length` columns filled
    if remember:
        history = np.concatenate([ids, np.zeros_like(ids)], axis=1)
    while True:
        for process in processors:
            logits = process(history[:, :length], logits)
        tokens = choose(logits)
        if not counts.all():
            tokens[~counts] = pad_token_id
        if remember:
            if length == history.shape[1]:
                history = np.concatenate([history, np.zeros_like(history)], axis=1)
            history[:, length] = tokens
        length += 1
        yield Step(tokens, counts)
        counts = counts & ~stopping.ended(tokens, length, history[:, :length] if remember else None)
        if not counts.any():
            return
        logits = steps.advance(tokens, parents)
        parents = None
