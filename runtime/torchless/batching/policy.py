"""Lengths in, batches out: which rows share a run of the model. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

__all__ = ["RUN_TOKENS", "chunks", "in_order", "plan"]

RUN_TOKENS = 24
"""What a run of an encoder costs beside its tokens, in tokens: 20 to 24 of DistilBERT-base, in fp32 as in q8."""

T = TypeVar("T")


def plan(lengths: Sequence[int], *, max_batch_tokens: int, max_batch_rows: int | None = None) -> list[list[int]]:
    """Group rows of similar length, so that little of a batch is padding.

    A batch costs what the model computes: its rows times its longest row, padding included.

    Args:
        lengths: Each row's length in tokens.
        max_batch_tokens: The most that a batch may cost. A row that costs more alone makes a batch alone.
        max_batch_rows: The most rows a batch may have; None sets no bound.

    Returns:
        The rows' indices, batch by batch, each row once; the longest rows first.
    """
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        rows = len(batches[-1]) if batches else 0
        fits = (rows + 1) * width <= max_batch_tokens and (max_batch_rows is None or rows < max_batch_rows)
        if rows and fits:
            batches[-1].append(index)
        else:
            batches.append([index])
            width = lengths[index]
    return batches


def in_order(batches: Sequence[Sequence[int]], answers: Iterable[Sequence[T]]) -> list[T]:
    """Return the answers of batches in the order of their rows.

    Args:
        batches: The rows' indices, batch by batch, each row once.
        answers: An answer a row, batch by batch; read one batch at a time.
    """
    found: dict[int, T] = {}
    for batch, answer in zip(batches, answers, strict=True):
        found.update(zip(batch, answer, strict=True))
    return [found[index] for index in range(len(found))]


def chunks(items: Iterable[T], *, largest: int, first: int = 1) -> Iterator[list[T]]:
    """Cut a stream into lists that are planned together. The first are short, so that first answers come soon.

    Args:
        items: Read only as far as the next chunk needs.
        largest: The most items in a chunk.
        first: The items in the first chunk.

    Yields:
        `first` items, then twice as many and so on up to `largest`; the last chunk has the remaining items.
    """
    source = iter(items)
    size = first
    while chunk := list(islice(source, size)):
        yield chunk
        size = min(2 * size, largest)
