from types import SimpleNamespace

import numpy as np
import pytest
from fixtures.checkpoints import byte_level_bpe

from torchless.batching.prompt_scheduler import PromptScheduler
from torchless.batching.rows import Prompt, RowChunk
from torchless.generation.config import GenerationConfig
from torchless.tokenization.tokenizer import Tokenizer

TEXTS = ["a", "bb bb bb", "cc", "d d d d d d d", "e", "f g", "h", "i j", "k", "l"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(byte_level_bpe(["<pad>", "</s>"]), {"pad_token": "<pad>", "eos_token": "</s>"})


class Repeats:
    """A model that repeats the last token of each prompt, once for each token of the prompt, and then ends the text."""

    def __init__(self, *, has_encoder=False, batch_dependent=False):
        self.task = SimpleNamespace(encoder_decoder=has_encoder)
        self.batch_dependent = batch_dependent
        self.batches = []

    def max_batch_rows(self, _):
        return 1 if self.batch_dependent else None

    def generate(self, ids, mask, *, generation_config, tokenizer, should_continue):
        eos_token_id = generation_config.eos_token_id
        num_return_sequences = generation_config.num_return_sequences
        self.batches.append(len(ids))
        lengths = mask.sum(axis=1)
        prefix = np.full((len(ids), 1), 9) if self.task.encoder_decoder else ids
        last = [row[kept == 1][-1] for row, kept in zip(ids, mask, strict=True)]
        new = np.zeros((len(ids), lengths.max() + 1), dtype=np.int64)
        for row, token, length in zip(new, last, lengths, strict=True):
            row[:length] = token
            row[length] = eos_token_id
        return np.repeat(np.concatenate([prefix, new], axis=1), num_return_sequences, axis=0)


def prompts(tokenizer, **options):
    config = GenerationConfig(eos_token_id=1, pad_token_id=0, **options)
    return [Prompt(encoding, config=config) for encoding in tokenizer.encode_batch(TEXTS)]


@pytest.mark.parametrize("has_encoder", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 4, "num_return_sequences": 2}, {"repetition_penalty": 1.2}], ids=str
)
def test_sequences_equal_those_of_each_prompt_alone(tokenizer, has_encoder, options):
    rows = prompts(tokenizer, **options)
    got = PromptScheduler(Repeats(has_encoder=has_encoder), tokenizer).run(rows)
    assert [[sequence.tolist() for sequence in sequences] for sequences in got] == [
        [[*([9] if has_encoder else row.ids), *row.ids[-1:] * len(row), 1]] * options.get("num_return_sequences", 1)
        for row in rows
    ]


@pytest.mark.parametrize(
    ("options", "max_batch_rows", "largest_batch"),
    [
        ({}, None, 8),
        ({}, 3, 3),
        ({"num_beams": 4}, None, 2),
        ({"do_sample": True, "num_return_sequences": 20}, None, 1),
        ({"do_sample": True, "seed": 1}, None, 1),
        ({"stop_strings": ["."]}, None, 1),
    ],
    ids=str,
)
def test_number_of_prompts_in_a_batch(tokenizer, options, max_batch_rows, largest_batch):
    model = Repeats()
    PromptScheduler(model, tokenizer).run(prompts(tokenizer, **options), max_batch_rows=max_batch_rows)
    assert max(model.batches) == largest_batch
    assert sum(model.batches) == len(TEXTS)


@pytest.mark.parametrize("options", [{"max_length": 30}, {"no_repeat_ngram_size": 2}, {"min_length": 3}], ids=str)
def test_only_prompts_of_equal_length_share_a_batch_if_padding_would_count(tokenizer, options):
    model = Repeats()
    scheduler = PromptScheduler(model, tokenizer)
    rows = prompts(tokenizer, **options)
    for batch in scheduler._plan(rows, None):
        assert len({len(rows[index]) for index in batch}) == 1
    batches = PromptScheduler(Repeats(has_encoder=True), tokenizer)._plan(prompts(tokenizer, max_length=30), None)
    assert len({len(rows[index]) for index in batches[0]}) > 1


def test_a_model_whose_outputs_depend_on_the_batch(tokenizer):
    model = Repeats(batch_dependent=True)
    PromptScheduler(model, tokenizer).run(prompts(tokenizer))
    assert max(model.batches) == 1


def test_a_chunk_runs_only_when_it_is_requested(tokenizer):
    model = Repeats()
    chunks = [RowChunk(prompts(tokenizer), is_full=False)] * 2
    outputs = PromptScheduler(model, tokenizer).run_chunks(chunks)
    assert not model.batches
    next(outputs)
    assert sum(model.batches) == len(TEXTS)
