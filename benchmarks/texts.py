"""The texts that are measured: the sample's, and longer ones made of them. The same every time."""

import math
import random
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import mean, median

from tokenizers import Tokenizer

from torchless_export.sample import sample_texts

__all__ = ["described", "long_texts", "short_texts", "text_of", "token_counter", "token_rows"]

_MEDIAN_WORDS, _MEAN_WORDS = 175, 230  # IMDB's
_LEAST_WORDS = 20


def short_texts(count: int = 2000) -> list[str]:
    """Return texts with the lengths of SST-2's: the sample's snippets of reviews, again from the start if need be."""
    texts = sample_texts()
    return [texts[index % len(texts)] for index in range(count)]


def long_texts(count: int = 200, *, seed: int = 0) -> list[str]:
    """Return texts with the lengths of IMDB's reviews, joined from the sample's.

    Args:
        count: How many.
        seed: The same seed gives the same texts.

    Returns:
        Texts whose numbers of words are drawn from a lognormal distribution with a median of about 175 and a mean of
        about 230. What is beyond a model's maximum is for the peers to cut, all at the same place.
    """
    chance, texts = random.Random(seed), sample_texts()
    deviation = math.sqrt(2 * math.log(_MEAN_WORDS / _MEDIAN_WORDS))
    made = []
    for _ in range(count):
        size = max(_LEAST_WORDS, round(chance.lognormvariate(math.log(_MEDIAN_WORDS), deviation)))
        words: list[str] = []
        while len(words) < size:
            words += chance.choice(texts).split()
        made.append(" ".join(words[:size]))
    return made


def text_of(tokens: int, count: Callable[[str], int]) -> str:
    """Return a text of the sample's words that is exactly so long.

    Args:
        tokens: Its length, with the tokens that frame a text.
        count: The length of a text in tokens; words count for themselves.
    """
    framing, words = count(""), []
    left = tokens - framing
    for word in cycle(" ".join(sample_texts(50)).split()):
        size = count(word) - framing
        if size <= left:
            words.append(word)
            left -= size
        if not left:
            return " ".join(words)
    raise AssertionError  # the words never end


def described(texts: list[str], count: Callable[[str], int]) -> dict[str, float]:
    """Return how many texts there are, and their lengths in tokens."""
    lengths = [count(text) for text in texts]
    return {
        "texts": len(texts),
        "mean_tokens": mean(lengths),
        "median_tokens": median(lengths),
        "max_tokens": max(lengths),
    }


def token_counter(folder: Path, *, max_tokens: int | None = None) -> Callable[[str], int]:
    """Return what counts the tokens of a text.

    Args:
        folder: It holds `tokenizer.json`.
        max_tokens: Where a text is cut; None for nowhere.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_tokens is not None:
        tokenizer.enable_truncation(max_tokens)
    return lambda text: len(tokenizer.encode(text).ids)


def token_rows(folder: Path, rows: int, tokens: int) -> list[list[int]]:
    """Return token ids of the sample's texts, joined and cut.

    Args:
        folder: It holds `tokenizer.json`.
        rows: How many rows.
        tokens: Of each row.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.encode(" ".join(sample_texts(rows * tokens))).ids
    return [ids[start : start + tokens] for start in range(0, rows * tokens, tokens)]
