import warnings

import pytest
import torch
import transformers
from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

import torchless
from torchless.folder.config import ModelConfig


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


@pytest.mark.parametrize(
    "model_type", ["biogpt", "codegen", "gptj", "xglm", "opt", "mpt", "bigbird_pegasus", "rembert", "xlm"]
)
def test_families_whose_positions_are_a_table(model_type):
    name = {"codegen": "n_positions", "gptj": "n_positions", "mpt": "max_seq_len"}.get(
        model_type, "max_position_embeddings"
    )
    assert ModelConfig({"model_type": model_type, name: 64}).max_tokens == 64


@pytest.mark.parametrize("padding", [0, 1])
def test_tables_of_sinusoids_after_padding(padding):
    """M2M100 and NLLB: PyTorch makes the table longer, and a graph cannot."""
    config = transformers.M2M100Config(max_position_embeddings=24, pad_token_id=padding, d_model=8)
    table = M2M100SinusoidalPositionalEmbedding(24, 8, padding)
    rows = len(table.weights)
    limit = ModelConfig(config.to_dict()).max_tokens
    table(torch.full((1, limit), 5))
    assert len(table.weights) == rows
    table(torch.full((1, limit + 1), 5))
    assert len(table.weights) > rows


def test_an_encoder_and_a_decoder_with_tables_of_two_lengths():
    config = ModelConfig(
        {"model_type": "led", "max_encoder_position_embeddings": 128, "max_decoder_position_embeddings": 64}
    )
    assert (config.max_tokens, config.max_decoder_tokens) == (128, 64)
    assert ModelConfig({"model_type": "bart", "max_position_embeddings": 32}).max_decoder_tokens == 32
