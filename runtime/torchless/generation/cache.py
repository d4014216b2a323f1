"""What a decoder keeps of each row between two steps, and how rows are dropped, repeated and reordered in it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cache"]


class Cache:
    """Arrays whose first axis is a slot a row.

    A row that goes on stays in its slot, whatever its new index: only what is repeated is copied, into the slots of what
    was dropped. So four beams, of which one dies and another goes on twice, cost one copy instead of four.

    Args:
        rows: How many rows there are.

    Attributes:
        kept: Arrays by name, each (slots, …), that differ between all rows: keys and values of the tokens so far.
        shared: Arrays by name, each (slots, …), that are the same for all rows of one prompt: what the encoder gave.
        slots: Where each row is, (rows,).
        in_order: Whether each row is in the slot of its own index.
    """

    def __init__(self, rows: int) -> None:
        self.kept: dict[str, NDArray[Any]] = {}
        self.shared: dict[str, NDArray[Any]] = {}
        self.slots = np.arange(rows)
        self.in_order = True
        self._prompts = np.arange(rows)  # of each slot

    def follow(self, parents: NDArray[np.int64]) -> None:
        """Let each row continue an earlier one.

        Args:
            parents: The earlier row of each, (rows,).
        """
        sources, rows = self.slots[parents], len(parents)
        if rows > len(self.slots):
            self._expand(sources)
            return
        slots = np.full(rows, -1)
        continued, firsts = np.unique(sources, return_index=True)
        slots[firsts[continued < rows]] = continued[continued < rows]
        moved = np.flatnonzero(slots < 0)
        # Both ascend, so the rows of a prompt keep to its slots as long as it has as many rows as before.
        slots[moved] = np.setdiff1d(np.arange(rows), slots)
        for source, target in zip(sources[moved], slots[moved], strict=True):
            self._copy(source, target)
        if rows < len(self.slots):
            for arrays in (self.kept, self.shared):
                arrays.update({name: array[:rows] for name, array in arrays.items()})
            self._prompts = self._prompts[:rows]
        self.slots = slots
        self.in_order = bool((slots == np.arange(rows)).all())

    def _expand(self, sources: NDArray[np.int64]) -> None:
        for arrays in (self.kept, self.shared):
            arrays.update({name: array[sources] for name, array in arrays.items()})
        self._prompts = self._prompts[sources]
        self.slots = np.arange(len(sources))
        self.in_order = True

    def _copy(self, source: int, target: int) -> None:
        for array in self.kept.values():
            array[target] = array[source]
        if self._prompts[source] != self._prompts[target]:
            for array in self.shared.values():
                array[target] = array[source]
            self._prompts[target] = self._prompts[source]
