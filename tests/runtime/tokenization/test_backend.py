"""What a tokenizer's class and `tokenizer_config.json` change in the tokenizer of `tokenizer.json`."""

import json

import pytest
from fixtures.checkpoints import byte_level_bpe, wordpiece

from torchless import AutoTokenizer
from torchless.errors import CheckpointError

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture
def loaded(tmp_path):
    """Write a folder with this tokenizer, and load it."""

    def load(backend, config):
        (tmp_path / "tokenizer.json").write_text(backend)
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return AutoTokenizer.from_pretrained(tmp_path)

    return load


@pytest.fixture(scope="module")
def uncased():
    return wordpiece().backend_tokenizer.to_str()


@pytest.fixture(scope="module")
def byte_level():
    return byte_level_bpe(SPECIAL).to_str()


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, ["the", "cafe", "我"]),
        ({"do_lower_case": False}, ["[UNK]", "[UNK]", "我"]),
        ({"strip_accents": False}, ["the", "[UNK]", "我"]),
        ({"tokenize_chinese_chars": False}, ["the", "cafe", "我"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["Bert", "DistilBert", "Electra"])
def test_how_texts_are_normalized(loaded, uncased, name, config, tokens):
    assert loaded(uncased, {"tokenizer_class": f"{name}Tokenizer", **config}).tokenize("The café 我") == tokens
    general = loaded(uncased, {"tokenizer_class": "PreTrainedTokenizerFast", **config})
    assert general.tokenize("The café 我") == ["the", "cafe", "我"]


def test_a_value_that_is_not_possible(loaded, uncased):
    with pytest.raises(CheckpointError, match=r"no BertNormalizer takes[\s\S]*true or false[\s\S]*lowercase"):
        loaded(uncased, {"tokenizer_class": "BertTokenizer", "do_lower_case": "yes"})


@pytest.mark.parametrize(
    ("config", "first", "last"),
    [
        ({}, "<s>", "a"),
        ({"add_bos_token": False}, "a", "a"),
        ({"add_bos_token": False, "add_eos_token": True}, "a", "</s>"),
        ({"add_eos_token": True, "eos_token": "<mask>"}, "<s>", "<mask>"),
    ],
    ids=str,
)
def test_what_begins_and_ends_a_text(loaded, byte_level, config, first, last):
    tokens = loaded(byte_level, {"tokenizer_class": "LlamaTokenizer", **config}).tokenize("a", add_special_tokens=True)
    assert (tokens[0], tokens[-1]) == (first, last)
    general = loaded(byte_level, {"tokenizer_class": "GPT2Tokenizer", **config})
    assert general.tokenize("a", add_special_tokens=True) == ["a"]


def test_no_token_that_begins_a_text(loaded, byte_level):
    with pytest.raises(CheckpointError, match=r'no bos_token[\s\S]*"add_bos_token": false'):
        loaded(byte_level, {"tokenizer_class": "LlamaTokenizer", "bos_token": None})


@pytest.mark.parametrize("name", ["GPT2", "Roberta", "Bloom", "PreTrained"])
@pytest.mark.parametrize(("prefix_space", "token"), [(True, "Ġa"), (False, "a")])
def test_a_space_before_a_text(loaded, byte_level, name, prefix_space, token):
    config = {"tokenizer_class": f"{name}TokenizerFast", "add_prefix_space": prefix_space}
    assert loaded(byte_level, config).tokenize("a") == [token]


def test_files_of_transformers_5(loaded, byte_level):
    """There tokenizer.json alone says what begins a text, and whether a space does."""
    spaced = byte_level.replace('"add_prefix_space":false', '"add_prefix_space":true')
    for name in ("LlamaTokenizer", "TokenizersBackend"):
        config = {"tokenizer_class": name, "backend": "tokenizers", "bos_token": "<s>"}
        assert loaded(spaced, config).tokenize("a", add_special_tokens=True) == ["Ġa"]


def test_added_tokens(loaded, byte_level):
    token = {"content": "power", "lstrip": True, "rstrip": False, "normalized": False, "single_word": True}
    config = {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"9000": token}}
    ours = loaded(byte_level, config)
    assert ours.tokenize("a power, powers")[:3] == ["a", " power", ","]
    assert "power" not in ours.tokenize("powers")
    assert ours.token_id("power") is not None


def test_special_tokens_that_are_split(loaded, byte_level):
    assert loaded(byte_level, {"split_special_tokens": True}).tokenize("</s>") != ["</s>"]
    assert loaded(byte_level, {}).tokenize("</s>") == ["</s>"]


def test_padding_of_the_file(loaded, byte_level):
    values = json.loads(byte_level)
    values["padding"] = {
        "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip
    ours = loaded(json.dumps(values), {})
    assert (ours.pad_token, ours.padding_side) == ("<pad>", "left")
