"""Pipelines in pickles: a pickle holds what to load, and each process loads it once."""

import os
import pickle
from threading import Lock
from typing import Any

__all__ = ["LOADED_PARTS", "load_once", "recipe_of"]

LOADED_PARTS = frozenset({"model", "tokenizer", "_scheduler"})
"""The attributes of a pipeline that a process loads or makes for itself."""

_LOADED: dict[bytes, Any] = {}
_loading = Lock()


def recipe_of(pipeline: Any) -> bytes:
    """Return what loads the model and the tokenizer of a pipeline.

    Args:
        pipeline: The pipeline.
    """
    return pickle.dumps((pipeline.model, pipeline.tokenizer))


def load_once(recipe: bytes) -> Any:
    """Return the model and the tokenizer of a recipe; a process loads them for the first of equal recipes.

    Args:
        recipe: What `recipe_of` returned.

    Raises:
        CheckpointError: The folder is not there, or is damaged.
    """
    with _loading:
        if recipe not in _LOADED:
            # The recipe is part of a pickle that was read already.
            _LOADED[recipe] = pickle.loads(recipe)  # noqa: S301
        return _LOADED[recipe]


def _reset() -> None:
    global _loading  # noqa: PLW0603 - a thread of the parent may hold it
    _loading = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
