"""A session that is watched while a pipeline uses it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from torchless.ort.session import Session

__all__ = ["ObservedSession", "Observer"]

Observer: TypeAlias = Callable[[Path, Mapping[str, NDArray[Any]], Sequence[NDArray[Any]]], None]
"""Is told of each run: the graph, what it was given, by name, and what it answered."""


class ObservedSession(Session):
    """A session that tells of each of its runs.

    Args:
        session: What runs the graph.
        observer: Is told.
    """

    def __init__(self, session: Session, observer: Observer) -> None:
        self._observed = session
        self._observer = observer
        self.graph, self.inputs, self.outputs = session.graph, session.inputs, session.outputs

    def run(self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """Run the graph, and tell of it."""
        arrays = self._observed.run(feeds, outputs)
        self._observer(self.graph, feeds, arrays)
        return arrays
