import pytest
from fixtures.checkpoints import wordpiece

from torchless.errors import OptionError
from torchless.tokenization.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(wordpiece().backend_tokenizer, {"pad_token": "[PAD]"})


@pytest.mark.parametrize("options", [{"max_length": 2**40}, {"max_length": 8, "pad_to_multiple_of": 2**40}])
def test_a_width_that_no_memory_holds(tokenizer, options):
    with pytest.raises(OptionError, match=rf"cannot be padded to {2**40} tokens[\s\S]*smaller max_length"):
        tokenizer("A film.", padding="max_length", **options)


def test_a_width_that_means_no_limit(tokenizer):
    assert len(tokenizer("A film.", padding="max_length", max_length=10**30)["input_ids"]) == 5
