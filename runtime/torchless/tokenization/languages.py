"""Tokenizers of many languages: where the token goes that says which one a text is in."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

__all__ = ["LanguageFrame", "language_frame"]


class LanguageFrame(NamedTuple):
    """What stands around a text to translate.

    Attributes:
        tokens: The token of its language, and the one that ends a text, in their order.
        before: How many of them come before the text.
    """

    tokens: tuple[Literal["language", "end"], ...]
    before: int


_FIRST = LanguageFrame(("language", "end"), before=1)
_LAST = LanguageFrame(("end", "language"), before=0)

# Source: `set_src_lang_special_tokens` of the fast tokenizers in transformers 4.57.6.
_FRAMES = {"MBart": _LAST, "MBart50": _FIRST, "Nllb": _FIRST}


def language_frame(config: Mapping[str, Any]) -> LanguageFrame | None:
    """Return where a tokenizer puts the language of a text; None of a tokenizer that knows none.

    Args:
        config: The values of `tokenizer_config.json`.
    """
    family = str(config.get("tokenizer_class", "")).removesuffix("Fast").removesuffix("Tokenizer")
    return _LAST if family == "Nllb" and config.get("legacy_behaviour") else _FRAMES.get(family)
