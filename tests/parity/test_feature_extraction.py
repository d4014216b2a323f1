import numpy as np
import pytest
from fixtures.checkpoints import CONFIGS
from fixtures.texts import LONG_TEXT
from hypothesis import given, settings
from hypothesis import strategies as st
from parity.contracts.contract import CUT
from parity.contracts.feature_extraction import TEXTS, assert_close

import torchless

TASK = "feature-extraction"


@pytest.fixture(params=CONFIGS)
def both(request, both_on):
    return both_on(request.param, TASK)


@pytest.fixture
def both_bert(both_on):
    return both_on("bert", TASK)


def test_hard_texts(both):
    for text in TEXTS:
        assert_close(both.reference(text), both.ours(text))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"truncation": True},
        {"truncation": "longest_first"},
        {"truncation": "only_first"},
        {"truncation": False},
        {"truncation": "do_not_truncate"},
        {"tokenize_kwargs": {}},
        {"tokenize_kwargs": None},
        {"tokenize_kwargs": {"truncation": True, "max_length": 5}},
        {"tokenize_kwargs": {"max_length": 5}},
        {"tokenize_kwargs": {"max_length": 5, "padding": True}},
        {"tokenize_kwargs": {"max_length": 5}, "truncation": True},
        {"tokenize_kwargs": {"max_length": 3}, "truncation": "only_first"},
        {"tokenize_kwargs": {"max_length": 5}, "truncation": False},
        {"tokenize_kwargs": {"padding": True}},
        {"tokenize_kwargs": {"padding": "longest"}},
        {"tokenize_kwargs": {"padding": "max_length", "max_length": 12}},
        {"tokenize_kwargs": {"padding": "max_length", "max_length": 6, "truncation": True}},
        {"tokenize_kwargs": {"add_special_tokens": False}},
        {"tokenize_kwargs": {"add_special_tokens": False, "max_length": 4}, "truncation": True},
        {"return_tensors": False},
        {"return_tensors": None},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("modernbert", "string"), *(("bert", shape) for shape in ("string", "list", "list of one", "generator"))],
)
@pytest.mark.filterwarnings("ignore:`max_length` is ignored when `padding`=`True`")
@pytest.mark.filterwarnings(CUT)
def test_options(architecture, options, shape, both_on):
    both = both_on(architecture, TASK)
    text = "It is, by any measure, a film that nobody has seen."
    inputs = {
        "string": lambda: text,
        "list": lambda: [text, "Another."],
        "list of one": lambda: [text],
        "generator": lambda: (each for each in [text, "Another."]),
    }[shape]

    def copied():  # the reference writes into tokenize_kwargs
        return {name: dict(value) if isinstance(value, dict) else value for name, value in options.items()}

    expected, got = (pipe(inputs(), **copied()) for pipe in (both.reference, both.ours))
    if shape == "generator":
        expected, got = list(expected), list(got)
    assert_close(expected, got)


def test_padding_to_the_model_s_own_length(both_bert):
    options = {"padding": "max_length"}
    got = both_bert.ours("A film.", tokenize_kwargs=options)
    assert len(got[0]) == 512
    assert_close(both_bert.reference("A film.", tokenize_kwargs=options), got)


@pytest.mark.parametrize("return_tensors", [True, "np"])
@pytest.mark.parametrize("built", [True, False])
def test_return_tensors(both_bert, tiny, built, return_tensors):
    option = {"return_tensors": return_tensors}
    ours = torchless.pipeline(TASK, tiny.export("bert", TASK), **(option if built else {}))
    called = {} if built else option
    array, arrays = ours("A film.", **called), ours(["A film.", "Another one."], **called)
    assert_close(both_bert.reference("A film.", return_tensors=True).numpy(), array)
    assert_close([tensor.numpy() for tensor in both_bert.reference(["A film.", "Another one."], **option)], arrays)
    assert all(result.dtype == np.float32 for result in [array, *arrays])
    if built:
        assert isinstance(ours("A film.", return_tensors=None), np.ndarray)
        assert isinstance(ours("A film.", return_tensors=False), list)


@pytest.mark.filterwarnings(CUT)
def test_long_text(both):
    assert_close(both.reference(LONG_TEXT, truncation=True), both.ours(LONG_TEXT, truncation=True))


@pytest.mark.parametrize("architecture", [name for name in CONFIGS if name != "modernbert"])
def test_long_text_is_an_error_where_the_reference_crashes(architecture, both_on):
    both = both_on(architecture, TASK)
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        both.reference(LONG_TEXT)
    with pytest.raises(torchless.InputError, match=r"this model takes 512[\s\S]*truncation=True"):
        both.ours(LONG_TEXT)


def test_long_text_of_a_model_without_a_limit(both_on):
    both = both_on("modernbert", TASK)
    text = LONG_TEXT[:4000]
    assert len(both.ours(text)[0]) > 512
    assert_close(both.reference(text), both.ours(text))


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text(text, both_bert_of_module):
    assert_close(both_bert_of_module.reference(text), both_bert_of_module.ours(text))


@pytest.fixture(scope="module")
def both_bert_of_module(both_on):
    return both_on("bert", TASK)
