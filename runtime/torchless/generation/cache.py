"""The cache of a decoder: the arrays of each row between two steps, and how rows are dropped, repeated and reordered."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cache"]


class Cache:
    """Arrays whose first axis has one slot for each row.

    A row that continues stays in its slot, even if its index changes. Only a repeated row is copied, into the slot of a
    dropped row. If one of four beams is dropped and another is continued twice, this costs one copy instead of four.

    Args:
        rows: The number of rows.

    Attributes:
        kept: Arrays by name, each (slots, …), that differ from row to row: keys and values of the tokens so far.
        shared: Arrays by name, each (slots, …), that are equal for all rows of a prompt: the encoder's outputs.
        slots: The slot of each row, (rows,).
        in_order: Whether the slot of each row equals the row's index.
    """

    def __init__(self, rows: int) -> None:
        self.kept: dict[str, NDArray[Any]] = {}
        self.shared: dict[str, NDArray[Any]] = {}
        self.slots = np.arange(rows)
        self.in_order = True
        self._prompts = np.arange(rows)  # the prompt of each slot, (slots,)

    def follow(self, parents: NDArray[np.int64]) -> None:
        """Let each row continue an earlier row.

        Args:
            parents: The index of the earlier row that each row continues, (rows,).
        """
        sources, rows = self.slots[parents], len(parents)
        if rows > len(self.slots):
            self._select(sources)
            slots = np.arange(rows)
        else:
            slots = np.full(rows, -1)
            continued, firsts = np.unique(sources, return_index=True)
            slots[firsts[continued < rows]] = continued[continued < rows]
            moved = np.flatnonzero(slots < 0)
            # Both ascend: as long as each prompt keeps its number of rows, its rows stay in its slots.
            slots[moved] = np.setdiff1d(np.arange(rows), slots)
            for source, target in zip(sources[moved], slots[moved], strict=True):
                self._copy(source, target)
            if rows < len(self.slots):
                self._select(slice(rows))
        self.slots = slots
        self.in_order = bool((slots == np.arange(rows)).all())

    def _select(self, slots: NDArray[np.int64] | slice) -> None:
        for arrays in (self.kept, self.shared):
            arrays.update({name: array[slots] for name, array in arrays.items()})
        self._prompts = self._prompts[slots]

    def _copy(self, source: int, target: int) -> None:
        for array in self.kept.values():
            array[target] = array[source]
        if self._prompts[source] != self._prompts[target]:
            for array in self.shared.values():
                array[target] = array[source]
            self._prompts[target] = self._prompts[source]
