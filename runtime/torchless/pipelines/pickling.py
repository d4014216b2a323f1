"""Pipelines in pickles: a pickle holds what to load, and each process loads it once."""

import os
import pickle
from threading import Lock
from typing import Any

__all__ = ["load_once", "recipe_of"]

_LOADED: dict[bytes, Any] = {}
_loading = Lock()


def recipe_of(pipeline: Any) -> bytes:
    """Return what a pipeline is made of: its folder, its settings, and its options.

    Args:
        pipeline: The pipeline.
    """
    parts = (
        type(pipeline),
        pipeline.model,
        pipeline.tokenizer,
        pipeline.task_name,
        pipeline.batch_size,
        pipeline.options,
    )
    return pickle.dumps(parts)


def load_once(recipe: bytes) -> Any:
    """Return the pipeline of a recipe; a process loads it for the first of equal recipes.

    Args:
        recipe: What `recipe_of` returned.

    Raises:
        CheckpointError: The folder is not there, or is damaged.
    """
    with _loading:
        if recipe not in _LOADED:
            # The recipe is part of a pickle that was read already.
            pipeline_class, model, tokenizer, task_name, batch_size, options = pickle.loads(recipe)  # noqa: S301
            pipeline = pipeline_class(model, tokenizer, task_name=task_name, batch_size=batch_size)
            pipeline.options = options
            _LOADED[recipe] = pipeline
        return _LOADED[recipe]


def _reset() -> None:
    global _loading  # noqa: PLW0603 - a thread of the parent may hold it
    _loading = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
