import numpy as np
import pytest
from fixtures.generation import EOS, PAD, Scripted, generation

from torchless.generation.config import GenerationConfig

CONFIG = GenerationConfig(num_beams=2, max_new_tokens=3, pad_token_id=PAD, eos_token_id=EOS)
# The likeliest first token, 3, has no likely continuation, but token 4 has one.
FIRST = {3: 0.5, 4: 0.4, 9: 0.1}
AFTER_3 = {5: 0.34, 6: 0.33, 7: 0.33}
AFTER_4 = {8: 0.9, EOS: 0.1}


def logits(chances):
    row = np.full(10, -30.0)
    row[list(chances)] = np.log(list(chances.values()))
    return row


def scripted(*steps):
    """Each step has the next tokens of two rows."""
    return Scripted([[logits(row) for row in rows] for rows in steps])


def answers(steps, prompts=1, **options):
    ids = np.full((prompts, 1), 2)
    return generation(steps, ids, np.ones_like(ids), CONFIG.updated(**options)).generate()


def test_the_likeliest_sequence_differs_from_the_likeliest_tokens():
    steps = scripted([FIRST, FIRST], [AFTER_3, AFTER_4], [{EOS: 1.0}, {EOS: 1.0}])
    generated = answers(steps, num_return_sequences=2)
    assert [row.tolist() for row in generated.sequences] == [[4, 8, EOS], [3, 5, EOS]]
    np.testing.assert_allclose(generated.scores, np.log([0.4 * 0.9, 0.5 * 0.34]) / 3, rtol=1e-5)


def test_parents_are_the_rows_that_continue():
    steps = scripted([FIRST, FIRST], [AFTER_3, AFTER_4], [{EOS: 1.0}, {EOS: 1.0}])
    answers(steps)
    assert steps.advances == [
        ([3, 4], [0, 0]),
        ([8, 5], [1, 0]),
    ]  # first one row for each prompt, then the beams in a new order


def test_rows_of_several_prompts():
    rows = [FIRST, FIRST]
    steps = Scripted([[logits(FIRST)], [logits({5: 1.0})], [logits({EOS: 1.0})]])
    generated = answers(steps, prompts=2)
    assert steps.advances[0] == ([3, 4, 3, 4], [0, 0, 1, 1])
    assert [row.tolist() for row in generated.sequences] == [[3, 5, EOS]] * len(rows)


@pytest.mark.parametrize(("penalty", "answer"), [(0.0, [EOS]), (3.0, [3, 5, EOS])])
def test_length_penalty(penalty, answer):
    first = {EOS: 0.5, 3: 0.4, 4: 0.1}
    steps = scripted([first, first], [{5: 1.0}, {5: 1.0}], [{EOS: 1.0}, {EOS: 1.0}])
    assert answers(steps, length_penalty=penalty).sequences[0].tolist() == answer


@pytest.mark.parametrize("penalty", [1e308, -1e308])
def test_an_extreme_length_penalty(penalty):
    first = {EOS: 0.5, 3: 0.4, 4: 0.1}
    steps = scripted([first, first], [{5: 1.0}, {5: 1.0}], [{EOS: 1.0}, {EOS: 1.0}])
    assert answers(steps, length_penalty=penalty).sequences[0].tolist()


@pytest.mark.parametrize(("early_stopping", "steps_run"), [(True, 1), (False, 2), ("never", 2)])
def test_early_stopping(early_stopping, steps_run):
    first = {EOS: 0.31, 3: 0.4, 4: 0.29}
    second = {EOS: 0.52, 5: 0.48}
    steps = scripted([first, first], [second, second], [{EOS: 1.0}, {EOS: 1.0}])
    answers(steps, early_stopping=early_stopping)
    assert len(steps.advances) == steps_run


def test_padding_of_zero_is_the_end_as_in_the_reference():
    first = {EOS: 0.5, 3: 0.4, 4: 0.1}
    generated = answers(scripted([first, first], [{EOS: 1.0}] * 2), early_stopping=True, num_return_sequences=2)
    assert sorted(generated.joined().tolist()) == [[2, EOS, EOS], [2, 3, EOS]]
