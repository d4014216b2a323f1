"""What a tokenizer may be called with: a text or many, each perhaps with a pair, each perhaps in words."""

from typing import Any

from torchless.errors import InputError

__all__ = ["text_batch"]


def text_batch(text: Any, text_pair: Any, *, is_split_into_words: bool) -> tuple[bool, list[Any]]:
    """Return whether it is one text, and the texts, or (text, pair) tuples.

    Args:
        text: A text or a list of them; a text in words is a list of them.
        text_pair: What each is paired with, or None.
        is_split_into_words: The texts are lists of words.

    Raises:
        InputError: An item is not a text, or the numbers of texts and pairs differ.
    """
    is_single = _is_text(text, is_split_into_words=is_split_into_words)
    texts = [text] if is_single else text
    _check_texts(texts, "text", is_split_into_words=is_split_into_words)
    if text_pair is None or (is_single and not text_pair):  # the reference leaves an empty pair of one text out
        return is_single, list(texts)
    pairs = [text_pair] if is_single else text_pair
    _check_texts(pairs, "text_pair", is_split_into_words=is_split_into_words)
    if len(pairs) != len(texts):
        raise InputError(f"{len(texts)} texts with {len(pairs)} pairs.", hint="Give a text_pair for each text.")
    return is_single, list(zip(texts, pairs, strict=True))


def _is_text(text: Any, *, is_split_into_words: bool) -> bool:
    if not is_split_into_words:
        return isinstance(text, str)
    return isinstance(text, list | tuple) and all(isinstance(word, str) for word in text)


def _check_texts(texts: Any, name: str, *, is_split_into_words: bool) -> None:
    kind = "a list of words" if is_split_into_words else "a string"
    if not isinstance(texts, list | tuple):
        raise InputError(
            f"{name} is {texts!r}, of type {type(texts).__name__}.", hint=f"Give {kind}, or a list of such."
        )
    for index, text in enumerate(texts):
        if not _is_text(text, is_split_into_words=is_split_into_words):
            raise InputError(f"{name}[{index}] is {text!r}, of type {type(text).__name__}.", hint=f"Give {kind}.")
