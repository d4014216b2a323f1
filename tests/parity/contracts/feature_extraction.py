"""The row of feature-extraction."""

import numpy as np
from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import CUT, Contract, Model, Options, call, shapes

from torchless_export.sample import sample_texts

TEXTS = [*HARD_TEXTS.values(), *sample_texts(6)]
FILM = "It is a film that nobody has seen."
NOT_A_STRING = r"not a string[\s\S]*Give a string"


def assert_close(expected, got, *, tolerance=1e-4):
    """Fail where two results differ by more than a share of the hidden states' scale."""
    assert type(expected) is type(got)
    if isinstance(expected, list) and not is_numbers(expected):
        assert len(expected) == len(got)
        for expected_item, item in zip(expected, got, strict=True):
            assert_close(expected_item, item, tolerance=tolerance)
        return
    expected, got = np.asarray(expected), np.asarray(got)
    assert expected.shape == got.shape
    if expected.size:
        assert np.abs(expected - got).max() <= tolerance * np.abs(expected).max()


def is_numbers(nested):
    """Whether a nested list makes one array."""
    try:
        return np.asarray(nested).dtype.kind == "f"
    except ValueError:
        return False


CONTRACT = Contract(
    task="feature-extraction",
    example="A film.",
    compare=assert_close,
    model=Model("bert"),
    batch_models=[Model(architecture) for architecture in CONFIGS],
    batch_inputs=[*TEXTS, LONG_TEXT],
    batch_options=[{"truncation": True}, {"truncation": True, "pooling": "mean"}],
    batch_warnings=[CUT],
    shapes=shapes(FILM, "Another."),
    option_cases=[
        Options({"truncation": True}, {}),
        Options({"truncation": True}, {"truncation": None}),
        Options({"truncation": True, "tokenize_kwargs": {"max_length": 5}}, {}),
        Options({"truncation": True, "tokenize_kwargs": {"max_length": 5}}, {"truncation": False}),
        Options({"tokenize_kwargs": {"max_length": 5}}, {"truncation": True}),
        Options({"tokenize_kwargs": {"max_length": 5}}, {"tokenize_kwargs": {"max_length": 4}}),
        Options({"tokenize_kwargs": {"max_length": 5}}, {"tokenize_kwargs": None}),
        Options({"tokenize_kwargs": {"max_length": 5, "truncation": True}}, {"tokenize_kwargs": {"truncation": False}}),
        Options({"tokenize_kwargs": {"add_special_tokens": False}}, {"tokenize_kwargs": {"max_length": 5}}),
        Options({"return_tensors": False}, {"return_tensors": None}),
    ],
    option_calls=[call(FILM), call([FILM, "Another."])],
    option_warnings=[CUT],
    wrong_inputs=[
        (call(inputs), NOT_A_STRING)
        for inputs in (None, 1, b"bytes", ("a", "b"), ["a", None], [["a", "b"]], {"text": "a"})
    ],
    wrong_options=[
        ({"pool": "mean"}, r"no option 'pool'[\s\S]*Did you mean 'pooling'"),
        ({"pooling": "median"}, r"pooling='median'[\s\S]*mean"),
        ({"pooling": ["mean"]}, r"pooling=\['mean'\][\s\S]*cls, last, max, mean"),
        ({"return_tensors": "pt"}, r"return_tensors='pt'[\s\S]*Give 'np'"),
        ({"return_tensors": []}, r"return_tensors=\[\][\s\S]*Give 'np'"),
        ({"normalize": True}, r"normalize=True needs one embedding[\s\S]*pooling='mean'"),
        ({"normalize": "l2", "pooling": "mean"}, r"normalize='l2'[\s\S]*True"),
        ({"windows": "max"}, r"windows='max' needs one embedding[\s\S]*pooling='mean'"),
        ({"windows": "mean", "pooling": "mean", "truncation": True}, r"truncation=True cuts it[\s\S]*one of the two"),
        ({"windows": "mean", "pooling": "cls", "max_length": 9}, r"max_length=9[\s\S]*windows=Windows\(max_length=9"),
        ({"windows": "median", "pooling": "mean"}, r"by 'median'[\s\S]*mean"),
        ({"tokenize_kwargs": "truncation"}, r"tokenize_kwargs='truncation'[\s\S]*Give tokenize_kwargs=\{"),
        ({"tokenize_kwargs": {"max_len": 5}}, r"no option 'max_len'[\s\S]*Did you mean 'max_length'"),
        ({"tokenize_kwargs": {"pooling": "mean"}}, r"no option 'pooling'[\s\S]*Valid: add_special_tokens"),
        ({"tokenize_kwargs": {"truncation": True}, "truncation": True}, "truncation is given twice"),
        ({"tokenize_kwargs": {"max_length": 5}, "max_length": 5}, "max_length is given twice"),
    ],
    wrong_call_options=[
        ({"truncation": "longest"}, "'longest'"),
        ({"tokenize_kwargs": {"truncation": True, "max_length": -1}}, "max_length=-1"),
    ],
    cut=(call([LONG_TEXT, "Short."], truncation=True), "1 of 2 inputs were cut to 512 tokens"),
)
