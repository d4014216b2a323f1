"""Hooks that see what a session computes while a pipeline or a model uses it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from torchless.ort.session import Session

__all__ = ["SessionHook", "add_session_hook"]

SessionHook: TypeAlias = Callable[[Path, Mapping[str, NDArray[Any]], Sequence[NDArray[Any]]], None]
"""Called after each run with the graph, its inputs by name, and its outputs."""


def add_session_hook(session: Session, hook: SessionHook) -> None:
    """Call a hook after each run of a session.

    Args:
        session: The session.
        hook: The hook.
    """
    run = session.run

    def run_with_hook(feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        arrays = run(feeds, outputs)
        hook(session.graph, feeds, arrays)
        return arrays

    session.run = run_with_hook  # type: ignore[method-assign]
