"""A model that an engine has loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["LoadedModel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready to answer.

    Attributes:
        answer: A function of (a text or a list of texts, a batch size or None if the engine chooses it). It returns an answer
            or a list of answers.
        before_call: Runs before each call, and is not timed.
    """

    answer: Callable[[Any, int | None], Any]
    before_call: Callable[[], Any] = lambda: None
