"""Pipelines in pickles: a pickle holds what to load, and each process loads it once."""

import pickle
from typing import Any

from torchless.semaphore import Semaphore

__all__ = ["LOADED_PARTS", "load_once", "recipe_of"]

LOADED_PARTS = frozenset({"model", "tokenizer", "_scheduler"})
"""The attributes of a pipeline that a process loads or makes for itself."""

_LOADED: dict[bytes, Any] = {}
_LOADING = Semaphore()


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
    with _LOADING.lend():
        if recipe not in _LOADED:
            # The recipe is part of a pickle that was read already.
            _LOADED[recipe] = pickle.loads(recipe)  # noqa: S301
        return _LOADED[recipe]
