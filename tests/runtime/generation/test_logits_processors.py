import numpy as np
import pytest

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.logits_processors import logits_processors

IDS = np.array([[5, 6, 7, 5, 6], [1, 2, 1, 2, 1]])


def processed(ids=IDS, encoder_ids=IDS, prompt_length=5, max_length=10, **options):
    """The scores 4.5, 3.5, 2.5, … after the processors of the options."""
    scores = np.tile(4.5 - np.arange(10, dtype=np.float32), (len(ids), 1))
    config = GenerationConfig(**options)
    for process in logits_processors(
        config, prompt_length=prompt_length, max_length=max_length, encoder_ids=encoder_ids
    ):
        scores = process(ids, scores)
    return scores


def forbidden(**options):
    """The tokens that cannot follow each row."""
    return [np.flatnonzero(row == -np.inf).tolist() for row in processed(**options)]


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"no_repeat_ngram_size": 3}, [[7], [2]]),
        ({"no_repeat_ngram_size": 2}, [[7], [2]]),
        ({"no_repeat_ngram_size": 1}, [[5, 6, 7], [1, 2]]),
        ({"no_repeat_ngram_size": 9}, [[], []]),
        ({"encoder_no_repeat_ngram_size": 2, "encoder_ids": np.array([[6, 8, 6, 9], [3, 4, 1, 0]])}, [[8, 9], [0]]),
        ({"encoder_no_repeat_ngram_size": 7}, [[], []]),
        ({"bad_words_ids": [[3], [6, 4], [5, 6, 8], [4, 6, 9]]}, [[3, 4, 8], [3]]),
        ({"bad_words_ids": [[3], [4]], "eos_token_id": 3}, [[4], [4]]),
        ({"min_length": 6, "eos_token_id": [3, 4]}, [[3, 4], [3, 4]]),
        ({"min_length": 5, "eos_token_id": 3}, [[], []]),
        ({"min_new_tokens": 1, "eos_token_id": 3}, [[3], [3]]),
        ({"min_new_tokens": 1, "eos_token_id": 3, "prompt_length": 4}, [[], []]),
        ({"min_length": 6}, [[], []]),
        ({"suppress_tokens": [2, 99]}, [[2], [2]]),
        ({"begin_suppress_tokens": [2]}, [[2], [2]]),
        ({"begin_suppress_tokens": [2], "prompt_length": 4}, [[], []]),
    ],
)
def test_forbidden_tokens(options, tokens):
    assert forbidden(**options) == tokens


@pytest.mark.parametrize(
    ("options", "token"),
    [
        ({"forced_bos_token_id": 4, "ids": IDS[:, :1]}, 4),
        ({"forced_eos_token_id": 4, "max_length": 6}, 4),
        ({"forced_eos_token_id": 4, "bad_words_ids": [[4]], "max_length": 6}, 4),
    ],
)
def test_forced_tokens(options, token):
    assert (np.isfinite(processed(**options)) == (np.arange(10) == token)).all()


def test_repetition_is_penalised_once_for_each_token():
    scores = processed(repetition_penalty=2.0)
    np.testing.assert_allclose(scores[0], [4.5, 3.5, 2.5, 1.5, 0.5, -1, -3, -5, -3.5, -4.5])
    np.testing.assert_allclose(scores[1], [4.5, 1.75, 1.25, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5])


def test_tokens_of_the_encoder_are_likelier_in_the_first_rows():
    scores = processed(encoder_repetition_penalty=2.0, encoder_ids=np.array([[1, 9]]))
    np.testing.assert_allclose(scores[:, [1, 9]], [[7, -2.25], [3.5, -4.5]])


@pytest.mark.parametrize("form", [dict, list])
def test_a_bias_for_sequences(form):
    biases = {(2,): 1.5, (6, 2): 10.0, (1, 3): -1.0, (9, 9, 9, 9, 9, 9): 5.0}
    sequence_bias = biases if form is dict else [[list(tokens), bias] for tokens, bias in biases.items()]
    np.testing.assert_allclose(processed(sequence_bias=sequence_bias)[:, [2, 3]], [[14, 1.5], [4, 0.5]])


def test_a_token_that_the_vocabulary_lacks():
    with pytest.raises(OptionError, match="holds the token 10, and the vocabulary has 10 tokens"):
        processed(bad_words_ids=[[4, 10]])


def test_a_forced_token_that_the_vocabulary_lacks():
    with pytest.raises(OptionError, match="token 10 cannot be forced: the vocabulary has 10 tokens"):
        processed(forced_eos_token_id=10, max_length=6)


def test_the_end_becomes_likelier():
    options = {"exponential_decay_length_penalty": (1, 2.0), "eos_token_id": 7}
    assert [processed(**options, prompt_length=length)[0, 7] for length in (4, 3, 2)] == [-2.5, 0.0, 5.0]
    assert processed(exponential_decay_length_penalty=(0, 2.0), eos_token_id=7, prompt_length=-2000)[0, 7] == np.inf
    with pytest.raises(OptionError, match="the model has none"):
        processed(exponential_decay_length_penalty=(1, 2.0))


def test_invalid_values_are_replaced():
    scores = np.array([[np.nan, np.inf, -np.inf, 1]], dtype=np.float32)
    (process,) = logits_processors(
        GenerationConfig(remove_invalid_values=True), prompt_length=1, max_length=5, encoder_ids=IDS
    )
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(process(IDS[:1], scores), np.array([[0, largest, -largest, 1]], dtype=np.float32))
