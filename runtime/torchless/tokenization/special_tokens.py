"""A tokenizer's special tokens by their roles, read from its settings."""

from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import AddedToken

from torchless.tokenization.tokenizer_classes import ROLES

__all__ = ["all_special_tokens", "content_of", "special_token_values", "special_tokens", "special_tokens_map"]


def special_tokens(settings: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the token of each role, the usual roles first; None where the tokenizer has none.

    Args:
        settings: A token is a string, an `AddedToken`, or an object with its `content`.
    """
    named = settings.get("extra_special_tokens")
    roles = {role: settings.get(role) for role in ROLES} | (named if isinstance(named, dict) else {})
    return {role: content_of(token) for role, token in roles.items()}


def special_token_values(settings: Mapping[str, Any]) -> Iterator[Any]:
    """Yield every special token as the settings hold it, each once: the usual roles, the additional ones, other roles."""
    named = settings.get("extra_special_tokens")
    values = [
        *(settings.get(role) for role in ROLES),
        *(settings.get("additional_special_tokens") or ()),
        *(named.values() if isinstance(named, dict) else ()),
    ]
    seen = set()
    for value in values:
        content = content_of(value)
        if content and content not in seen:
            seen.add(content)
            yield value


def all_special_tokens(settings: Mapping[str, Any]) -> list[str]:
    """Return every special token as text, each once."""
    return [str(content_of(token)) for token in special_token_values(settings)]


def special_tokens_map(settings: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the special tokens that there are by role, the additional ones as a list."""
    named = special_tokens(settings)
    additional = [content_of(token) or "" for token in settings.get("additional_special_tokens") or ()]
    by_role = {
        **{role: named.pop(role) for role in ROLES},
        "additional_special_tokens": additional,
        **named,
    }
    return {role: token for role, token in by_role.items() if token}


def content_of(token: Any) -> str | None:
    """Return a token as text."""
    if isinstance(token, AddedToken):
        return str(token.content)
    return token.get("content") if isinstance(token, dict) else token
