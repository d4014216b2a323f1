"""What an engine loads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Loaded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model that is ready to answer.

    Attributes:
        answer: (a text or a list of texts, the batch size or None for the engine's own) → one answer or a list of them.
        between: What happens before each call, untimed.
    """

    answer: Callable[[Any, int | None], Any]
    between: Callable[[], Any] = lambda: None
