"""A table of a suite, for the screen and for the report."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of words and figures.

    Attributes:
        title: The title.
        header: The names of the columns.
        rows: The rows, each with as many cells as the header.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        """Return the table in Markdown, with right-aligned figures."""
        lines = [self.header, ("---", *("---:" for _ in self.header[1:])), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
