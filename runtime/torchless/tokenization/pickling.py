"""Tokenizers in pickles: a pickle holds what to load, and what the caller has set since."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer as Backend

__all__ = ["reduced"]

# What a tokenizer makes for itself.
_NOT_PICKLED = frozenset({"_backend"})


def reduced(
    tokenizer: Any, location: tuple[str, str | None] | None, backend: Backend, config: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Return what `__reduce__` of a tokenizer returns.

    Args:
        tokenizer: The tokenizer.
        location: What opens its folder again; None if it has no folder, and is pickled whole.
        backend: The tokenizer of the package tokenizers.
        config: The values that the tokenizer was made of.
    """
    state = {
        name: value
        for name, value in vars(tokenizer).items()
        if name not in _NOT_PICKLED and not isinstance(getattr(type(tokenizer), name, None), cached_property)
    }
    if location is not None:
        del state["_config"]
        return _loaded, (type(tokenizer), *location), state
    return _rebuilt, (type(tokenizer), backend.to_str(), config), state


def _loaded(tokenizer_class: Any, source: str, revision: str | None) -> Any:
    return tokenizer_class.from_pretrained(source, revision=revision)


def _rebuilt(tokenizer_class: Any, backend: str, config: Mapping[str, Any]) -> Any:
    return tokenizer_class(Backend.from_str(backend), config)
