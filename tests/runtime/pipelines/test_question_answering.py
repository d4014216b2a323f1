import numpy as np
import pytest

from torchless.numerics import softmax
from torchless.pipelines import question_answering
from torchless.pipelines.question_answering import QuestionAnsweringOptions, _best_spans


@pytest.mark.parametrize("top_k", [1, 3, 1_000_000])
@pytest.mark.parametrize("max_answer_len", [1, 15, 1_000_000])
@pytest.mark.parametrize("block", [1, 40, 400])
def test_long_rows_are_scored_in_blocks(monkeypatch, top_k, max_answer_len, block):
    rng = np.random.default_rng(0)
    start, end = (softmax(rng.normal(size=40)) for _ in range(2))
    candidate = rng.random(40) < 0.9
    options = QuestionAnsweringOptions(top_k=top_k, max_answer_len=max_answer_len)
    whole = list(_best_spans(start, end, candidate, options))
    monkeypatch.setattr(question_answering, "_MAX_SCORES", block)
    in_blocks = list(_best_spans(start, end, candidate, options))
    likely = [span for span in whole if span[2] > 0]
    assert likely
    assert [span for span in in_blocks if span[2] > 0] == likely
