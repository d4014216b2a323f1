"""The rules that group rows into batches and inputs into chunks."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

__all__ = ["RUN_TOKENS", "chunks", "in_order", "plan"]

RUN_TOKENS = 24
"""The fixed cost of a run of an encoder, in tokens: 20 to 24 tokens of DistilBERT-base, in fp32 and in q8."""

T = TypeVar("T")


def plan(lengths: Sequence[int], *, max_batch_tokens: int, max_batch_rows: int | None = None) -> list[list[int]]:
    """Group rows of similar length, so that batches have little padding.

    The cost of a batch is its number of rows times the length of its longest row, that is, its tokens with padding.

    Args:
        lengths: The length of each row, in tokens.
        max_batch_tokens: The highest cost of a batch. A row with a higher cost is a batch by itself.
        max_batch_rows: The most rows in a batch; None sets no limit.

    Returns:
        The indices of each batch's rows; the longest rows come first.
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


def in_order(batches: Sequence[Sequence[int]], outputs: Iterable[Sequence[T]]) -> list[T]:
    """Return the outputs of batches in the order of the rows.

    Args:
        batches: The indices of each batch's rows.
        outputs: The outputs of each batch's rows; they are read one batch at a time.
    """
    by_index: dict[int, T] = {}
    for batch, batch_outputs in zip(batches, outputs, strict=True):
        by_index.update(zip(batch, batch_outputs, strict=True))
    return [by_index[index] for index in range(len(by_index))]


def chunks(items: Iterable[T], *, largest: int, first: int = 1) -> Iterator[list[T]]:
    """Cut a stream into lists that are planned together. The first lists are short, so that the first results come soon.

    Args:
        items: The stream; it is read only as far as the next chunk needs.
        largest: The most items in a chunk.
        first: The number of items in the first chunk.

    Yields:
        Chunks of `first` items, then twice as many, and so on up to `largest`; the last chunk has the remaining items.
    """
    source = iter(items)
    size = first
    while chunk := list(islice(source, size)):
        yield chunk
        size = min(2 * size, largest)
