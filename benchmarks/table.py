"""A table, as a suite describes it: for the screen and for the report."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of words and figures.

    Attributes:
        title: What it shows.
        header: The first cell names what the rows are.
        rows: As many cells as the header has.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Return the table in Markdown; figures on the right."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
