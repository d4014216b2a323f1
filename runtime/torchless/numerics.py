"""Numerical functions on arrays: softmax, sigmoid, padding and top-k."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_softmax", "pad", "sigmoid", "softmax", "top_k"]

_BLOCK = 16


def softmax(logits: NDArray[np.floating], axis: int = -1) -> NDArray[np.floating]:
    """Turn logits into probabilities that sum to 1 along an axis.

    Args:
        logits: Any shape, any floating dtype.
        axis: The axis that sums to 1.

    Returns:
        The same shape and dtype.

    Source: `softmax` in transformers 4.57.6, pipelines/text_classification.py.
    """
    shifted = np.exp(logits - np.maximum.reduce(logits, axis=axis, keepdims=True))
    return np.asarray(shifted / np.add.reduce(shifted, axis=axis, keepdims=True))


def log_softmax(logits: NDArray[np.floating], axis: int = -1) -> NDArray[np.floating]:
    """Turn logits into the logarithms of `softmax`, without underflow.

    Args:
        logits: Any shape, any floating dtype.
        axis: The axis whose exponentials sum to 1.

    Returns:
        The same shape and dtype.
    """
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Turn each logit into an independent probability, without overflow.

    Args:
        logits: Any shape, any floating dtype.

    Returns:
        The same shape and dtype.

    Source: `sigmoid` in transformers 4.57.6, pipelines/text_classification.py.
    """
    decay = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1 / (1 + decay), decay / (1 + decay)))


def pad(
    sequences: Sequence[Sequence[int] | NDArray[np.int64]], length: int, value: int, *, left: bool = False
) -> NDArray[np.int64]:
    """Stack sequences of different lengths into one array.

    Args:
        sequences: Integers, at most `length` in each sequence.
        length: The width of the result.
        value: The value that fills the rest of each row.
        left: Fill rows on the left; by default on the right.

    Returns:
        int64, (sequences, length).
    """
    if sequences and all(len(sequence) == length for sequence in sequences):
        return np.array(sequences, dtype=np.int64)
    padded = np.full((len(sequences), length), value, dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        begin = length - len(sequence) if left else 0
        row[begin : begin + len(sequence)] = sequence
    return padded


def top_k(values: NDArray[np.floating], count: int) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Find the largest values of each row.

    Args:
        values: (rows, width).
        count: The number of values, at most `width`.

    Returns:
        The values and their indices, both (rows, count), the largest first.
    """
    columns = values.shape[1] // _BLOCK
    if columns <= count:
        order = np.argsort(-values, axis=-1, kind="stable")[:, :count]
        return np.take_along_axis(values, order, axis=-1), order
    # A fast pass finds the `count` columns with the largest maxima. The largest values are in these columns, or after the
    # last full column block: only these few values are sorted.
    blocks = values[:, : columns * _BLOCK].reshape(len(values), _BLOCK, columns)
    best = np.argpartition(blocks.max(axis=1), columns - count, axis=-1)[:, -count:]  # (rows, count)
    places = best[:, None, :] + np.arange(0, columns * _BLOCK, columns)[:, None]  # (rows, block, count)
    rest = np.broadcast_to(np.arange(columns * _BLOCK, values.shape[1]), (len(values), values.shape[1] % _BLOCK))
    places = np.sort(np.concatenate([places.reshape(len(values), -1), rest], axis=1), axis=-1)
    candidates = np.take_along_axis(values, places, axis=-1)
    order = np.argsort(-candidates, axis=-1, kind="stable")[:, :count]
    return np.take_along_axis(candidates, order, axis=-1), np.take_along_axis(places, order, axis=-1)
