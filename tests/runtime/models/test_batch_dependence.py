import numpy as np
import pytest

from torchless.errors import InputError
from torchless.models.batch_dependence import padding_changes_answers

OPTIONS = {"vocab_size": 100, "pad_token_id": 0, "padding_side": "right", "max_tokens": None}


def masked_mean(ids, mask, _tokens):
    """The mean of a row's tokens, whatever its padding."""
    return [(ids * mask).sum(axis=1)[0] / mask.sum(axis=1)[0]]


def mean(ids, _mask, _tokens):
    """The mean of a row's tokens and of its padding."""
    return [ids.mean(axis=1)[0]]


def one_scale(ids, _mask, tokens):
    """The row on the scale of the whole batch."""
    return [ids[0, :tokens] / ids.max()]


def refuses_batches(ids, mask, tokens):
    if len(ids) > 1:
        raise InputError("One row.", hint="")
    return mean(ids, mask, tokens)


def not_a_number_beside_others(ids, mask, tokens):
    return [np.full(1, np.nan)] if len(ids) > 1 else mean(ids, mask, tokens)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (masked_mean, False),
        (mean, True),
        (one_scale, True),
        (refuses_batches, True),
        (not_a_number_beside_others, True),
    ],
)
def test_padding_changes_answers(answer, expected, side):
    if answer is one_scale and side == "left":
        pytest.skip("it reads its first tokens")
    assert padding_changes_answers(answer, **{**OPTIONS, "padding_side": side}) is expected


def test_a_model_of_few_positions():
    def few(ids, mask, tokens):
        assert ids.shape[1] <= 8
        return mean(ids, mask, tokens)

    assert padding_changes_answers(few, **{**OPTIONS, "max_tokens": 8})
    assert not padding_changes_answers(few, **{**OPTIONS, "max_tokens": 1})


def test_padding_is_never_one_of_the_tokens():
    def look(ids, mask, _tokens):
        assert ((ids != 33) == (mask == 1)).all()
        return [np.zeros(1)]

    assert not padding_changes_answers(look, **{**OPTIONS, "pad_token_id": 33})
