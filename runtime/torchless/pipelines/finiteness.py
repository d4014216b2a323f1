"""Whether a model's answer is made of numbers: NaN and infinity are neither a score nor JSON."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from torchless.batching.rows import RowOutput

__all__ = ["outputs_are_finite", "scores_are_finite"]


def outputs_are_finite(outputs: Sequence[RowOutput], axes: Sequence[Sequence[str]]) -> bool:
    """Whether the outputs of rows are numbers. Minus infinity is a logit too, beside others.

    Args:
        outputs: The outputs of each row.
        axes: The names of the axes of each output, the batch first.
    """
    for row in outputs:
        for array, names in zip(row, axes, strict=True):
            if np.isfinite(array).all():
                continue
            # The maximum of NaN and others is NaN.
            if names[-1] == "hidden" or not np.isfinite(array.max(axis=-1)).all():
                return False
    return True


def scores_are_finite(result: Any, *, named: bool = False) -> bool:
    """Whether the scores of a result are numbers: what its dicts hold, in whatever lists they are.

    Args:
        result: What a pipeline answers to one input.
        named: The result is a value of a dict. Other lists of numbers are hidden states, which were seen as arrays.
    """
    if isinstance(result, float | np.floating):
        return isfinite(result)
    if isinstance(result, dict):
        return all(scores_are_finite(value, named=True) for value in result.values())
    if isinstance(result, list) and result and (named or isinstance(result[0], dict | list)):
        return all(scores_are_finite(item, named=named) for item in result)
    return True
