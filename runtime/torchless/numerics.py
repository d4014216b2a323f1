"""Arrays in, new arrays out: the numerical functions of postprocessing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_softmax", "pad", "sigmoid", "softmax"]


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
    """Turn logits into the logarithms of `softmax`, without its underflow.

    Args:
        logits: Any shape, any floating dtype.
        axis: The axis whose exponentials sum to 1.

    Returns:
        The same shape and dtype.
    """
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Turn each logit into a probability of its own, without overflow at either end.

    Args:
        logits: Any shape, any floating dtype.

    Returns:
        The same shape and dtype.

    Source: `sigmoid` in transformers 4.57.6, pipelines/text_classification.py.
    """
    decay = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1 / (1 + decay), decay / (1 + decay)))


def pad(sequences: Sequence[Sequence[int]], length: int, value: int) -> NDArray[np.int64]:
    """Stack sequences of different lengths into one array, filled up on the right.

    Args:
        sequences: One sequence of integers a row, none longer than `length`.
        length: The width of the result, in tokens.
        value: What fills the rest of each row.

    Returns:
        int64, (sequences, length).
    """
    if sequences and all(len(sequence) == length for sequence in sequences):
        return np.array(sequences, dtype=np.int64)
    padded = np.full((len(sequences), length), value, dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded
