"""The texts of the benchmarks: the sample, and longer texts made from it. They are the same in every run."""

import math
import random
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import mean, median

from tokenizers import Tokenizer

from torchless_export.sample import sample_texts

__all__ = ["length_statistics", "long_texts", "short_texts", "text_of", "token_counter", "token_rows"]

_MEDIAN_WORDS, _MEAN_WORDS = 175, 230  # of IMDB reviews
_MIN_WORDS = 20


def short_texts(count: int = 2000) -> list[str]:
    """Return texts as long as those of SST-2: the review snippets of the sample, repeated if `count` is larger."""
    texts = sample_texts()
    return [texts[index % len(texts)] for index in range(count)]


def long_texts(count: int = 200, *, seed: int = 0) -> list[str]:
    """Return texts as long as IMDB reviews, joined from the sample.

    Args:
        count: The number of texts.
        seed: The same seed gives the same texts.

    Returns:
        Texts whose numbers of words are drawn from a lognormal distribution with a median of about 175 and a mean of
        about 230. The peers truncate longer texts at the maximum of the model, all at the same token.
    """
    generator, texts = random.Random(seed), sample_texts()
    deviation = math.sqrt(2 * math.log(_MEAN_WORDS / _MEDIAN_WORDS))
    joined = []
    for _ in range(count):
        size = max(_MIN_WORDS, round(generator.lognormvariate(math.log(_MEDIAN_WORDS), deviation)))
        words: list[str] = []
        while len(words) < size:
            words += generator.choice(texts).split()
        joined.append(" ".join(words[:size]))
    return joined


def text_of(tokens: int, count: Callable[[str], int]) -> str:
    """Return a text from words of the sample with an exact length.

    Args:
        tokens: The length, including the special tokens of a text.
        count: Returns the number of tokens of a text. The count of a text is the sum of the counts of its words.
    """
    special, words = count(""), []
    remaining = tokens - special
    for word in cycle(" ".join(sample_texts(50)).split()):
        size = count(word) - special
        if size <= remaining:
            words.append(word)
            remaining -= size
        if not remaining:
            return " ".join(words)
    raise AssertionError  # not reached: the cycle of words never ends


def length_statistics(texts: list[str], count: Callable[[str], int]) -> dict[str, float]:
    """Return the number of texts and statistics of their lengths in tokens."""
    lengths = [count(text) for text in texts]
    return {
        "texts": len(texts),
        "mean_tokens": mean(lengths),
        "median_tokens": median(lengths),
        "max_tokens": max(lengths),
    }


def token_counter(folder: Path, *, max_tokens: int | None = None) -> Callable[[str], int]:
    """Return a function that counts the tokens of a text.

    Args:
        folder: A folder that holds `tokenizer.json`.
        max_tokens: The length to truncate to. None does not truncate.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_tokens is not None:
        tokenizer.enable_truncation(max_tokens)
    return lambda text: len(tokenizer.encode(text).ids)


def token_rows(folder: Path, rows: int, tokens: int) -> list[list[int]]:
    """Return rows of token ids, cut from the joined texts of the sample.

    Args:
        folder: A folder that holds `tokenizer.json`.
        rows: The number of rows.
        tokens: The tokens of each row.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.encode(" ".join(sample_texts(rows * tokens))).ids
    return [ids[start : start + tokens] for start in range(0, rows * tokens, tokens)]
