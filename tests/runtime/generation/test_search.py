import numpy as np
import pytest
from fixtures.generation import EOS, PAD, Scripted, generation

from torchless.errors import InputError, OptionError
from torchless.generation.config import GenerationConfig

PROMPTS = np.array([[5, 6], [7, 8]])
MASK = np.ones_like(PROMPTS)
CONFIG = GenerationConfig(max_new_tokens=4, pad_token_id=PAD, eos_token_id=EOS)


def table_of(*steps):
    """Logits in which these tokens are the highest; each step has a list with the token of each row."""
    table = np.zeros((len(steps), len(steps[0]), 10))
    for step, tokens in enumerate(steps):
        table[step, range(len(tokens)), tokens] = 1
    return table


def test_rows_end_at_different_lengths():
    steps = Scripted(table_of([3, 4], [EOS, 4], [9, EOS]))
    generated = generation(steps, PROMPTS, MASK, CONFIG).generate()
    assert [row.tolist() for row in generated.sequences] == [[3, EOS], [4, 4, EOS]]
    assert steps.advances == [([3, 4], None), ([EOS, 4], None)]  # no step runs after the last token
    assert generated.joined().tolist() == [[5, 6, 3, EOS, PAD], [7, 8, 4, 4, EOS]]


def test_rows_that_ended_continue_with_padding():
    steps = Scripted(table_of([EOS, 4], [9, 4], [9, 4], [9, 4]))
    assert [row.tolist() for row in generation(steps, PROMPTS, MASK, CONFIG).generate().sequences] == [
        [EOS],
        [4, 4, 4, 4],
    ]
    assert [tokens for tokens, _ in steps.advances] == [[EOS, 4], [PAD, 4], [PAD, 4]]


def test_several_sequences_begin_with_one_row_for_each_prompt():
    steps = Scripted(table_of([3, 4, 9, 9], [3, 3, 4, 4], [3, 3, 4, 4], [3, 3, 4, 4]) * 1000)
    options = {"do_sample": True, "num_return_sequences": 2, "seed": 0}
    generated = generation(steps, PROMPTS, MASK, CONFIG.updated(**options)).generate()
    assert [row[0] for row in generated.sequences] == [3, 3, 4, 4]
    assert [parents for _, parents in steps.advances] == [[0, 0, 1, 1], None, None]
    assert generated.joined()[:, :2].tolist() == [[5, 6], [5, 6], [7, 8], [7, 8]]


def test_a_stream_runs_a_step_only_when_it_is_requested():
    steps = Scripted(table_of([3, 4], [EOS, 4], [9, EOS]))
    tokens = generation(steps, PROMPTS, MASK, CONFIG).stream()
    assert steps.rows == 0
    assert next(tokens).tolist() == [3, 4]
    assert steps.advances == []
    assert next(tokens).tolist() == [EOS, 4]
    tokens.close()
    assert len(steps.advances) == 1


def test_a_stream_has_the_tokens_of_generate():
    table = table_of([3, 4], [EOS, 4], [9, EOS])
    streamed = np.stack(list(generation(Scripted(table), PROMPTS, MASK, CONFIG).stream()), axis=1)
    np.testing.assert_array_equal(
        streamed, generation(Scripted(table), PROMPTS, MASK, CONFIG).generate().joined()[:, 2:]
    )


def test_beams_cannot_be_streamed():
    with pytest.raises(OptionError, match="num_beams=2 cannot be streamed"):
        generation(Scripted(table_of([3, 4])), PROMPTS, MASK, CONFIG.updated(num_beams=2)).stream()


def test_a_prompt_that_leaves_no_room():
    with pytest.raises(InputError, match="The prompt has 2 tokens, and max_length=2 includes them"):
        generation(Scripted(table_of([3, 4])), PROMPTS, MASK, GenerationConfig(max_length=2)).generate()


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True}])
def test_logits_may_be_overwritten(options):
    """A step may overwrite the logits of the step before."""

    class Reused(Scripted):
        def _logits(self, step):
            if not hasattr(self, "buffer"):
                self.buffer = np.empty((4, 10), dtype=np.float32)
            self.buffer[: self.rows] = super()._logits(step)
            return self.buffer[: self.rows]

    table = np.random.default_rng(0).normal(size=(5, 4, 10))
    config = CONFIG.updated(**options, repetition_penalty=1.3, seed=0)
    expected, got = (generation(kind(table), PROMPTS, MASK, config).generate().sequences for kind in (Scripted, Reused))
    assert [row.tolist() for row in got] == [row.tolist() for row in expected]
