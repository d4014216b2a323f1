import numpy as np
import pytest
from fixtures.generation import Scripted, generation

from torchless.errors import OptionError
from torchless.generation.config import GenerationConfig
from torchless.generation.sampling import draw, draw_distinct, warpers
from torchless.numerics import softmax

SCORES = np.log(np.array([[0.4, 0.3, 0.15, 0.1, 0.05]], dtype=np.float32))


def left(**options):
    """The tokens that can be drawn."""
    scores = SCORES.copy()
    for narrow in warpers(GenerationConfig(do_sample=True, **{"top_k": 0} | options)):
        scores = narrow(np.zeros((1, 0), dtype=np.int64), scores)
    return np.flatnonzero(scores[0] > -np.inf).tolist()


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.8}, [0, 1, 2]),
        ({"top_p": 0.01}, [0]),
        ({"min_p": 0.3}, [0, 1, 2]),
        ({"epsilon_cutoff": 0.12}, [0, 1, 2]),
        ({"epsilon_cutoff": 0.9}, [0]),
        ({"top_k": 3, "top_p": 0.8}, [0, 1]),
        ({"top_p": 0.01, "num_beams": 2}, [0, 1]),
        ({"top_k": 1, "num_beams": 2, "eos_token_id": [1, 2, 3]}, [0, 1, 2, 3]),
    ],
)
def test_tokens_that_can_be_drawn(options, tokens):
    assert left(**options) == tokens


def test_temperature_sharpens():
    narrow, = warpers(GenerationConfig(temperature=0.5, top_k=0))  # fmt: skip
    sharp = softmax(narrow(np.zeros((1, 0), dtype=np.int64), SCORES.copy()))
    np.testing.assert_allclose(sharp, softmax(SCORES) ** 2 / (softmax(SCORES) ** 2).sum(), rtol=1e-5)


def chi_square(counts, chances):
    return float(((counts - chances * counts.sum()) ** 2 / (chances * counts.sum())).sum())


def test_draws_follow_the_probabilities():
    scores = np.concatenate([SCORES, [[-np.inf]]], axis=1).repeat(5000, axis=0).astype(np.float32)
    counts = np.bincount(draw(scores, np.random.default_rng(0)), minlength=6)
    assert counts[5] == 0
    assert chi_square(counts[:5], softmax(SCORES)[0]) < 18.5  # four degrees of freedom: one in a thousand is above


def test_distinct_draws_follow_the_probabilities():
    drawn = draw_distinct(SCORES.repeat(5000, axis=0), 2, np.random.default_rng(0))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    first = softmax(SCORES)[0].astype(np.float64)
    assert chi_square(np.bincount(drawn[:, 0], minlength=5), first) < 18.5
    pairs = np.outer(first, first) / (1 - first[:, None])  # the second, without the first
    expected = pairs[~np.eye(5, dtype=bool)]
    counts = np.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25).reshape(5, 5)[~np.eye(5, dtype=bool)]
    assert chi_square(counts, expected) < 43.9  # 19 degrees of freedom


@pytest.mark.parametrize("beams", [1, 3])
def test_a_seed_repeats_a_draw(beams):
    table = np.random.default_rng(0).normal(size=(20, 1, 30))
    ids = np.array([[5, 6]])

    def answer(seed):
        config = GenerationConfig(max_new_tokens=20, do_sample=True, num_beams=beams, seed=seed)
        return generation(Scripted(table), ids, np.ones_like(ids), config).generate().sequences[0].tolist()

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)
    assert answer(None) != answer(None)


@pytest.mark.parametrize("score", [-np.inf, np.inf, np.nan])
def test_no_token_can_be_drawn(score):
    with pytest.raises(OptionError, match="no token can be drawn"):
        draw(np.full((1, 5), score, dtype=np.float32), np.random.default_rng(0))
