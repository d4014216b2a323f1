import warnings

import pytest

import torchless


@pytest.fixture(scope="module")
def pipe(tiny):
    folder = tiny.export("llama", "text-generation", max_position_embeddings=64)
    return torchless.pipeline(model=folder, do_sample=False, max_new_tokens=4)


def test_a_prompt_beyond_the_context_of_a_rotary_model_has_a_warning(pipe):
    with pytest.warns(UserWarning, match=r"The prompt has \d+ tokens.* trained for 64"):
        pipe("A film of quiet power. " * 20)


def test_a_continuation_beyond_the_context_has_a_warning(pipe):
    with pytest.warns(UserWarning, match="up to 100 may follow"):
        pipe("A film", max_new_tokens=100)


def test_a_prompt_within_the_context_has_none(pipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe("A film")
    assert (pipe.context_length, pipe.max_tokens) == (64, None)
