"""The lower-level API, against the classes of the same names in transformers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

import torchless
from torchless_export.sample import sample_texts

OUTPUTS = {
    "AutoModelForMaskedLM": ("fill-mask", ["logits"]),
    "AutoModelForMultipleChoice": ("multiple-choice", ["logits"]),
    "AutoModelForQuestionAnswering": ("question-answering", ["start_logits", "end_logits"]),
    "AutoModelForTokenClassification": ("token-classification", ["logits"]),
}
WITHOUT_A_HEAD = {("modernbert", "AutoModelForMultipleChoice"), ("modernbert", "AutoModelForQuestionAnswering")}
CASES = [(family, name) for family in CONFIGS for name in OUTPUTS if (family, name) not in WITHOUT_A_HEAD]
TEXTS = [*HARD_TEXTS.values(), *sample_texts(6)]
PAIRS = list(zip(TEXTS[::2], TEXTS[::-2], strict=True))
CHOICES = [
    ("It rains. What do you take?", ["An umbrella.", "A spoon.", "My time, and some more."]),
    ("A man eats.", ["Someone is eating.", "Nobody is.", ""]),
    *((text, [text[:20], "One.", "…"]) for text in HARD_TEXTS.values()),
]


@pytest.fixture(scope="module")
def sides(tiny):
    """(the reference's model and tokenizer, ours) for a family and a class; each is loaded once."""
    loaded = {}

    def load(family, name):
        if (family, name) not in loaded:
            task, _ = OUTPUTS[name]
            folders = tiny.checkpoint(family, task), tiny.export(family, task)
            loaded[family, name] = [
                SimpleNamespace(
                    model=getattr(package, name).from_pretrained(folder, **options),
                    tokenizer=package.AutoTokenizer.from_pretrained(folder),
                )
                for package, folder, options in zip(
                    (transformers, torchless), folders, ({}, {"threads": 1}), strict=True
                )
            ]
        return loaded[family, name]

    return load


@pytest.fixture(params=CASES, ids="-".join)
def both(request, sides):
    """(outputs by name, the reference's model and tokenizer, ours)."""
    family, name = request.param
    return OUTPUTS[name][1], *sides(family, name)


def answers(side, inputs):
    """Run a model of PyTorch or ours; for multiple choice, the rows of the texts are the choices of one prompt."""
    if "MultipleChoice" in type(side.model).__name__ and np.ndim(inputs["input_ids"]) == 2:
        inputs = {name: array[None] for name, array in inputs.items()}
    if isinstance(side.model, torch.nn.Module):
        with torch.inference_mode():
            outputs = side.model(**inputs)
        return {name: tensor.numpy() for name, tensor in outputs.items()}
    return side.model(**inputs)


def assert_same_outputs(names, expected, got, attention_mask):
    """Fail where outputs differ by more than 1e-4 of their scale, without the padding."""
    assert list(got) == names == [name for name in expected if name in names]
    for name in names:
        expected_array, array = expected[name], got[name]
        assert expected_array.shape == array.shape
        assert array.dtype == np.float32
        if expected_array.shape[: attention_mask.ndim] == attention_mask.shape:  # an output for each token
            expected_array, array = expected_array[attention_mask == 1], array[attention_mask == 1]
        assert np.abs(expected_array - array).max() <= 1e-4 * np.abs(expected_array).max()


def assert_same_answers(both, *texts, **options):
    names, expected, ours = both
    tensors = expected.tokenizer(*texts, padding=True, return_tensors="pt", **options)
    arrays = ours.tokenizer(*texts, padding=True, return_tensors="np", **options)
    assert list(tensors) == list(arrays)
    for name in tensors:
        np.testing.assert_array_equal(tensors[name].numpy(), arrays[name])
    mask = arrays["attention_mask"]
    assert_same_outputs(names, answers(expected, tensors), answers(ours, arrays), mask)


def test_texts(both):
    assert_same_answers(both, TEXTS)
    for text in ("A film.", ""):
        assert_same_answers(both, [text])


def test_pairs(both):
    assert_same_answers(both, [text for text, _ in PAIRS], [pair for _, pair in PAIRS])
    assert_same_answers(both, ["Where do I live?"], ["My name is Wolfgang and I live in Berlin."])


def test_long_text(both):
    assert_same_answers(both, [LONG_TEXT], truncation=True)
    assert_same_answers(both, [LONG_TEXT, "A film."], ["What is it?"] * 2, truncation="only_first", max_length=100)


@pytest.mark.parametrize("family", [family for family in CONFIGS if family != "modernbert"])
def test_choices_of_many_prompts(family, sides):
    expected, ours = sides(family, "AutoModelForMultipleChoice")
    prompts = [prompt for prompt, choices in CHOICES for _ in choices]
    choices = [choice for _, choices in CHOICES for choice in choices]
    shape = (len(CHOICES), 3, -1)  # (texts, choices, tokens)
    tensors = expected.tokenizer(prompts, choices, padding=True, return_tensors="pt")
    arrays = ours.tokenizer(prompts, choices, padding=True, return_tensors="np")
    got = answers(ours, {name: array.reshape(shape) for name, array in arrays.items()})
    assert got.logits.shape == (len(CHOICES), 3)
    expected_outputs = answers(expected, {name: tensor.view(shape) for name, tensor in tensors.items()})
    assert_same_outputs(["logits"], expected_outputs, got, arrays["attention_mask"].reshape(shape))
    alone = answers(ours, {name: array[None, :3] for name, array in arrays.items()})
    np.testing.assert_allclose(alone.logits[0], got.logits[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", OUTPUTS)
def test_lists_and_missing_masks(name, sides):
    expected, ours = sides("bert", name)
    ids = expected.tokenizer("A film.").input_ids
    ids = [[ids, ids]] if name == "AutoModelForMultipleChoice" else [ids]
    expected_outputs = answers(expected, {"input_ids": torch.tensor(ids)})
    assert_same_outputs(OUTPUTS[name][1], expected_outputs, answers(ours, {"input_ids": ids}), np.ones_like(ids))


@pytest.mark.parametrize("name", OUTPUTS)
@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_any_text(name, texts, sides):
    # two texts beside them, so that the scale is never that of a single score
    assert_same_answers((OUTPUTS[name][1], *sides("bert", name)), [*texts, "A film.", "It rains."])
