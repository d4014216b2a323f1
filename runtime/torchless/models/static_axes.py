"""Axes of a graph's inputs that have one length: rows are filled up to it, and the outputs are cut back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from torchless.ort.session import Tensor

__all__ = ["StaticAxes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticAxes:
    """The lengths that a graph sets for the axes of its inputs; None where an axis may have any length.

    Attributes:
        batch: How many texts a run has; of multiple choice, how many prompts.
        choices: How many choices a prompt has.
        tokens: How many tokens a row has.
    """

    batch: int | None = None
    choices: int | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, inputs: Mapping[str, Tensor], axes: Sequence[str]) -> Self:
        """Read them from what a graph declares.

        Args:
            inputs: The graph's inputs by name.
            axes: The names of the inputs' axes, as in `Task.input_axes`; inputs with another number of axes are left out.
        """
        lengths: dict[str, int] = {}
        for tensor in inputs.values():
            if len(tensor.shape) == len(axes):
                lengths |= {axis: length for axis, length in zip(axes, tensor.shape, strict=True) if length}
        return cls(**lengths)

    def __bool__(self) -> bool:
        return (self.batch, self.choices, self.tokens) != (None, None, None)

    def runs(self, feeds: Mapping[str, NDArray[Any]], *, pad_id: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the inputs of as many runs as it takes.

        Rows are filled up with padding. Where rows are missing, the last one is repeated: an answer that depends on the
        rows that share its batch then does not change.

        Args:
            feeds: The inputs by name, each (texts, tokens) or (texts, choices, tokens); no more tokens than `tokens`.
            pad_id: What fills up `input_ids`; 0 fills up the others.

        Yields:
            The same inputs, of the shape that the graph takes.
        """
        *leading, tokens = next(iter(feeds.values())).shape
        rows = int(np.prod(leading))
        width = self.tokens or tokens
        group = (self.choices or leading[1]) if len(leading) > 1 else 1
        groups = self.batch or max(1, ceil(rows / group))
        shape = (groups, group, width) if len(leading) > 1 else (groups, width)
        for start in range(0, rows, groups * group):
            part = {}
            for name, array in feeds.items():
                taken = array.reshape(rows, tokens)[start : start + groups * group]  # (rows, tokens)
                fill = pad_id if name == "input_ids" else 0
                wide = np.pad(taken, ((0, 0), (0, width - tokens)), constant_values=fill)  # (rows, width)
                part[name] = np.pad(wide, ((0, groups * group - len(wide)), (0, 0)), mode="edge").reshape(shape)
            yield part

    @staticmethod
    def joined(outputs: Sequence[NDArray[Any]], axes: Sequence[str], shape: Sequence[int]) -> NDArray[Any]:
        """Return an output of all runs as one array, without the padding.

        Args:
            outputs: The output of each run.
            axes: The names of its axes; `tokens` is cut back.
            shape: That of the inputs before they were filled up.
        """
        *leading, tokens = shape
        array = np.concatenate(outputs)
        if "choices" in axes:
            return array.reshape(-1)[: int(np.prod(leading))].reshape(leading)
        array = array[: leading[0]]
        return array[(slice(None),) * axes.index("tokens") + (slice(tokens),)] if "tokens" in axes else array
