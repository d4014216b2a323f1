"""What a tokenizer's files say beside `tokenizer.json`, and its class where they are silent."""

import json
import re

import pytest
from fixtures.checkpoints import byte_level_bpe

from torchless import AutoTokenizer
from torchless.errors import CheckpointError

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
PLAIN = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}


@pytest.fixture
def loaded(tmp_path):
    """Write the files of a folder, and load its tokenizer."""

    def load(config, model_config=None, **files):
        (tmp_path / "tokenizer.json").write_text(byte_level_bpe(SPECIAL).to_str())
        written = {"config.json": model_config or {}, "tokenizer_config.json": config, **files}
        for name, values in written.items():
            (tmp_path / name).write_text(json.dumps(values))
        return AutoTokenizer.from_pretrained(tmp_path)

    return load


@pytest.mark.parametrize(
    ("config", "model_config", "eos_token"),
    [
        ({"tokenizer_class": "RobertaTokenizer"}, {"model_type": "qwen2"}, "</s>"),
        ({}, {"tokenizer_class": "RobertaTokenizerFast", "model_type": "qwen2"}, "</s>"),
        ({}, {"model_type": "qwen2"}, "<|endoftext|>"),
        ({}, {"model_type": "encoder-decoder", "encoder": {"model_type": "roberta"}}, "</s>"),
        ({}, {"model_type": "modernbert"}, None),
        ({}, {"model_type": "no-such"}, None),
        ({"tokenizer_class": "NoSuchTokenizer"}, {"model_type": "qwen2"}, None),
        ({"tokenizer_class": "TokenizersBackend", "eos_token": "</s>"}, {}, "</s>"),
        ({"tokenizer_class": "RobertaTokenizer", "eos_token": None}, {}, None),
        ({"tokenizer_class": "RobertaTokenizer", "eos_token": {"content": "<s>", **PLAIN}}, {}, "<s>"),
    ],
    ids=str,
)
def test_the_class_of_a_tokenizer(loaded, config, model_config, eos_token):
    assert loaded(config, model_config).eos_token == eos_token


def test_the_map_of_special_tokens_comes_first_where_the_configuration_has_no_added_tokens(loaded):
    config = {"eos_token": "</s>", "unk_token": "<unk>", "additional_special_tokens": ["<a>"]}
    files = {"special_tokens_map.json": {"eos_token": "<s>", "additional_special_tokens": ["<b>"]}}
    ours = loaded(config, **files)
    assert (ours.eos_token, ours.unk_token, ours.all_special_tokens[-2:]) == ("<s>", "<unk>", ["<a>", "<b>"])
    ours = loaded({**config, "added_tokens_decoder": {}}, **files)
    assert (ours.eos_token, ours.all_special_tokens[-1]) == ("</s>", "<a>")


def test_added_tokens_of_a_file(loaded):
    files = {"added_tokens.json": {"<new>": 5000, "power": 5001}, "special_tokens_map.json": {"pad_token": "<new>"}}
    ours = loaded({}, **files)
    assert ours.tokenize("a<new>power") == ["a", "<new>", "power"]
    assert ours.decode(ours("a<new>power")["input_ids"], skip_special_tokens=True) == "apower"
    assert ours.pad_token == "<new>"


def test_extra_special_tokens(loaded):
    ours = loaded({"extra_special_tokens": {"image_token": "<image>"}, "additional_special_tokens": ["<a>"]})
    assert (ours.image_token, ours.image_token_id) == ("<image>", len(ours) - 1)
    assert ours.all_special_tokens == ["<a>", "<image>"]
    assert ours.special_tokens_map == {"additional_special_tokens": ["<a>"], "image_token": "<image>"}


def test_extra_special_tokens_of_transformers_5(loaded):
    config = {
        "tokenizer_class": "TokenizersBackend",
        "extra_special_tokens": ["<a>", {"content": "<b>", **PLAIN}],
        "model_specific_special_tokens": {"image_token": "<image>"},
    }
    ours = loaded(config)
    assert ours.model_input_names == ["input_ids", "attention_mask"]
    assert ours.all_special_tokens == ["<a>", "<b>", "<image>"]
    assert ours.tokenize("x<a><b>") == ["x", "<a>", "<b>"]
    assert ours.image_token == "<image>"


@pytest.mark.parametrize(
    ("name", "config", "count", "last"),
    [
        ("T5", {}, 100, "<extra_id_99>"),
        ("T5", {"extra_ids": 2}, 2, "<extra_id_1>"),
        ("MT5", {"additional_special_tokens": ["<extra_id_0>"]}, 1, "<extra_id_0>"),
        ("Pegasus", {}, 102, "<unk_102>"),
        ("Pegasus", {"additional_special_tokens": [], "offset": 4}, 3, "<unk_2>"),
        ("MBart", {"additional_special_tokens": ["de_DE", "<x>"]}, 26, "<x>"),
        ("MBart50", {"additional_special_tokens": ["<x>"]}, 53, "sl_SI"),
        ("Nllb", {}, 202, "zul_Latn"),
        ("Nllb", {"additional_special_tokens": ["<x>"]}, 1, "<x>"),
        ("XGLM", {}, 7, "<madeupword6>"),
        ("CodeLlama", {"suffix_token": None}, 3, "▁<EOT>"),
        ("Camembert", {}, 3, "<unk>NOTUSED"),
        ("Camembert", {"additional_special_tokens": []}, 0, None),
    ],
    ids=str,
)
def test_additional_tokens_of_a_class(loaded, name, config, count, last):
    tokens = loaded({"tokenizer_class": f"{name}Tokenizer", **config}).special_tokens_map.get(
        "additional_special_tokens", []
    )
    assert (len(tokens), tokens[-1] if tokens else None) == (count, last)


@pytest.mark.parametrize("value", ["<x>", {"special": True}, {"content": 5}], ids=str)
def test_an_added_token_that_is_no_token(loaded, value):
    with pytest.raises(CheckpointError, match=rf"not a token: {re.escape(repr(value))}[\s\S]*\"content\""):
        loaded({"added_tokens_decoder": {"9": value}})
