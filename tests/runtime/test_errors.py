import pytest

import torchless
from torchless.errors import MissingExtraError, OptionError, TorchlessError, nearest


def test_all_errors_have_one_base_class_and_a_hint():
    error = OptionError("top_k=0 is not possible.", hint="Give 1.")
    assert str(error) == "top_k=0 is not possible.\n  Give 1."
    for name in torchless.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(torchless, name), TorchlessError)


def test_a_missing_extra_names_the_command():
    error = MissingExtraError("The command line", extra="cli")
    assert isinstance(error, ImportError)
    assert "pip install 'torchless[cli]'" in str(error)


@pytest.mark.parametrize(
    ("name", "valid", "hint"),
    [
        ("top-k", ["top_k", "dtype"], "Did you mean 'top_k'? Valid: dtype, top_k."),
        ("zzz", ["a"], "Valid: a."),
        ("zzz", [], "There are none."),
    ],
)
def test_nearest(name, valid, hint):
    assert nearest(name, valid) == hint


def test_public_names_are_pinned():
    assert torchless.__all__ == sorted(torchless.__all__)
    assert set(torchless.__all__) == {
        "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForMultipleChoice",
        "AutoModelForQuestionAnswering", "AutoModelForSeq2SeqLM", "AutoModelForSequenceClassification", "AutoModelForTokenClassification",
        "AutoTokenizer", "CheckpointError", "ExportError", "ExportWarning", "InputError", "MissingExtraError",
        "OptionError", "TaskError", "TorchlessError",
        "TruncationWarning", "Windows", "__version__", "log_softmax", "pipeline", "sigmoid", "softmax",
    }  # fmt: skip
