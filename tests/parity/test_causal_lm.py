"""AutoModelForCausalLM, against the class of the same name in transformers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import DECODERS
from fixtures.texts import HARD_TEXTS

import torchless
from torchless import InputError
from torchless_export.sample import sample_texts

TEXTS = [text for text in (*HARD_TEXTS.values(), *sample_texts(6)) if text]


@pytest.fixture(scope="module", params=DECODERS)
def both(request, tiny):
    """The reference's model and tokenizer, and ours."""
    folders = tiny.checkpoint(request.param, "text-generation"), tiny.export(request.param, "text-generation")
    return [
        SimpleNamespace(
            model=package.AutoModelForCausalLM.from_pretrained(folder),
            tokenizer=package.AutoTokenizer.from_pretrained(folder),
        )
        for package, folder in zip((transformers, torchless), folders, strict=True)
    ]


def logits_of(side, inputs):
    """The logits of either model as an array; PyTorch's gets the positions that its `generate` counts."""
    if not isinstance(side.model, torch.nn.Module):
        return side.model(**inputs).logits
    mask = inputs["attention_mask"]
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    with torch.inference_mode():
        return side.model(**inputs, position_ids=positions).logits.numpy()


def assert_same_logits(expected, got, mask):
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    expected, got = expected[mask == 1], got[mask == 1]  # (tokens, vocabulary)
    assert np.abs(expected - got).max() <= 1e-4 * np.abs(expected).max()
    np.testing.assert_array_equal(expected.argmax(-1), got.argmax(-1))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch(both, side):
    reference, ours = both
    tensors = reference.tokenizer(TEXTS, padding=True, padding_side=side, return_tensors="pt")
    tensors.pop("token_type_ids", None)
    arrays = ours.tokenizer(TEXTS, padding=True, padding_side=side, return_tensors="np")
    np.testing.assert_array_equal(tensors["input_ids"].numpy(), arrays["input_ids"])
    assert_same_logits(logits_of(reference, tensors), logits_of(ours, arrays), arrays["attention_mask"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(both, side):
    _, ours = both
    texts = ["A film.", "It rains in Paris, and has done so for a week."]
    arrays = ours.tokenizer(texts, padding=True, padding_side=side, return_tensors="np")
    batch, mask = logits_of(ours, arrays), arrays["attention_mask"]
    for index, text in enumerate(texts):
        alone = logits_of(ours, ours.tokenizer([text], return_tensors="np"))[0]
        np.testing.assert_allclose(batch[index][mask[index] == 1], alone, rtol=0, atol=1e-5 * np.abs(alone).max())


def test_lists_without_a_mask(both):
    reference, ours = both
    ids = ours.tokenizer("A film of quiet power.").input_ids
    with torch.inference_mode():
        expected = reference.model(torch.tensor([ids])).logits.numpy()
    outputs = ours.model([ids])
    assert list(outputs) == ["logits"]
    assert_same_logits(expected, outputs.logits, np.ones((1, len(ids))))


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_hidden_states_of_a_decoder(family, tiny):
    checkpoint, folder = tiny.checkpoint(family, "feature-extraction"), tiny.export(family, "feature-extraction")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    inputs = tokenizer(TEXTS, padding=True, padding_side="right", return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        expected = transformers.AutoModel.from_pretrained(checkpoint)(**inputs).last_hidden_state.numpy()
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    got = torchless.AutoModel.from_pretrained(folder)(**arrays).last_hidden_state
    assert np.abs(expected - got)[arrays["attention_mask"] == 1].max() <= 1e-4 * np.abs(expected).max()


def test_no_tokens(both):
    _, ours = both
    with pytest.raises(InputError):
        ours.model(np.zeros((1, 0), dtype=np.int64))


def test_more_tokens_than_positions(tiny):
    model = torchless.AutoModelForCausalLM.from_pretrained(tiny.export("gpt2", "text-generation"))
    with pytest.raises(InputError, match="has 513 tokens, and this model takes 512"):
        model(np.ones((1, 513), dtype=np.int64))
