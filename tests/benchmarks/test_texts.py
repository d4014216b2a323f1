"""The texts that are measured."""

from statistics import mean, median

import pytest
from benchmarks.texts import described, long_texts, short_texts, text_of


def _words(text):
    return len(text.split()) + 2  # a token a word, and the two that frame a text


def test_short_texts_are_the_samples_again_and_again():
    texts = short_texts(2000)
    assert len(texts) == 2000
    assert texts[:1000] == texts[1000:]
    assert len(set(texts)) == 1000


def test_long_texts_are_as_long_as_reviews():
    lengths = [len(text.split()) for text in long_texts(2000)]
    assert median(lengths) == pytest.approx(175, rel=0.05)
    assert mean(lengths) == pytest.approx(230, rel=0.05)
    assert min(lengths) >= 20


def test_long_texts_are_the_same_every_time():
    assert long_texts(20) == long_texts(20)
    assert long_texts(20) != long_texts(20, seed=1)


@pytest.mark.parametrize("tokens", [3, 16, 256])
def test_a_text_is_exactly_as_long_as_asked(tokens):
    assert _words(text_of(tokens, _words)) == tokens


def test_texts_are_described_by_their_lengths():
    assert described(["a", "b c d"], _words) == {"texts": 2, "mean_tokens": 4, "median_tokens": 4, "max_tokens": 5}
