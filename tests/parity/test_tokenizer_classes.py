"""What a tokenizer's class says where files are silent, and what the files beside `tokenizer.json` change, class by class."""

import json
from typing import Any

import pytest
import transformers
from fixtures.checkpoints import byte_level_bpe
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

from torchless import AutoTokenizer
from torchless.errors import CheckpointError
from torchless.folder.config import ModelConfig
from torchless.tokenization.tokenizer_classes import ROLES, class_name_of, tokenizer_class

SPECIAL = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
# What these classes need beside tokenizer.json: a package of theirs, other files, a pre-tokenizer of their kind.
UNLOADABLE = {"RoFormer", "Cpm", "MarkupLM", "BlenderbotSmall", "CLIP"}
# A text is in the target's language at first there, and in the source's once a translation was made.
SWITCHED = {"SeamlessM4T"}
FAST = sorted(name.removesuffix("TokenizerFast") for name in dir(transformers) if name.endswith("TokenizerFast"))
LOADABLE = sorted(set(FAST) - UNLOADABLE - SWITCHED)
BEGINS = {"CodeLlama", "Cohere", "Gemma", "Llama"}
CONFIGS: dict[str, Any] = {
    "silent": {},
    "nothing": None,
    "tokens": {"unk_token": "[UNK]", "pad_token": "<p>", "mask_token": "<m>", "additional_special_tokens": ["<x>", "film"]},
    "nulls": {"bos_token": None, "pad_token": None, "mask_token": None, "additional_special_tokens": None, "model_max_length": None},
    "no additional": {"additional_special_tokens": []},
    "cased": {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False},
    "accents": {"do_lower_case": True, "strip_accents": False},
    "ends": {"add_bos_token": False, "add_eos_token": True, "eos_token": "</s>", "bos_token": "<s>"},
    "added": {
        "added_tokens_decoder": {
            "5": {"content": "[unused4]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True},
            "70000": {"content": "film", "lstrip": True, "rstrip": False, "normalized": True, "single_word": False, "special": False},
            "70001": {"content": "<mask>", "lstrip": False, "rstrip": True, "normalized": False, "single_word": False, "special": False},
        },
        "mask_token": "<mask>",
    },
    "sides": {"padding_side": "left", "truncation_side": "left", "model_input_names": ["input_ids"], "max_len": 7},
    "extra": {"extra_special_tokens": {"image_token": "<image>"}, "split_special_tokens": True},
    "spaces": {"clean_up_tokenization_spaces": True, "trim_offsets": False},
}  # fmt: skip
FILES = {
    "special_tokens_map.json": {
        "unk_token": "[UNK]",
        "mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": True, "single_word": False},
        "additional_special_tokens": ["<y>", {"content": "<z>", "lstrip": False, "rstrip": True, "normalized": False}],
    },
    "added_tokens.json": {"power": 80000, "<y>": 80001},
}


@pytest.fixture(scope="module")
def word_pieces():
    """The text of a small tokenizer.json, as BERT's family has it."""
    letters = sorted(set("sarahlivesncfém,.qutpow我爱"))
    words = [*SPECIAL, *letters, "film", "power", "[unused4]", "<extra_id_0>", "__en__"]
    pieces = dict.fromkeys([*words, *(f"##{word}" for word in words)])
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL[:-1])
    return tokenizer.to_str()


@pytest.fixture(scope="module")
def byte_level():
    """The same, as RoBERTa's family has it."""
    tokenizer = byte_level_bpe(SPECIAL)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
    return tokenizer.to_str()


@pytest.fixture(params=["word_pieces", "byte_level"])
def backend(request):
    return request.getfixturevalue(request.param)


def folder_of(path, backend, config, **files):
    path.mkdir(exist_ok=True)
    (path / "tokenizer.json").write_text(backend)
    written = {"config.json": {}, "tokenizer_config.json": config, **files}
    for name, values in written.items():
        if values is not None:
            (path / name).write_text(json.dumps(values))
    return path


def state_of(tokenizer):
    """All that a tokenizer shows of its settings and its vocabulary."""
    return {
        **{role: getattr(tokenizer, role) for role in ROLES},
        **{f"{role}_id": getattr(tokenizer, f"{role}_id") for role in ROLES},
        "all": tokenizer.all_special_tokens,
        "by role": {role: token for role, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
        "inputs": tokenizer.model_input_names,
        "sides": (tokenizer.padding_side, tokenizer.truncation_side),
        "padding type": tokenizer.pad_token_type_id,
        "length": len(tokenizer),
        "limit": tokenizer.model_max_length,
        "clean-up": bool(tokenizer.clean_up_tokenization_spaces) if hasattr(tokenizer, "backend_tokenizer") else tokenizer.clean_up,
    }  # fmt: skip


def assert_same(path):
    expected, ours = transformers.AutoTokenizer.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    assert state_of(expected) == state_of(ours)
    backends = [json.loads(backend.to_str()) for backend in (expected.backend_tokenizer, ours._backend)]
    for values in backends:
        values["truncation"] = values["padding"] = None
    assert backends[0] == backends[1]
    assert expected.backend_tokenizer.encode_special_tokens == ours._backend.encode_special_tokens
    return expected, ours


@pytest.mark.parametrize("name", LOADABLE)
def test_settings(backend, name, tmp_path):
    for number, config in enumerate(CONFIGS.values()):
        if (name == "Splinter" and "additional_special_tokens" in (config or {})) or (
            name == "Pegasus" and "pad_token" in (config or {})
        ):
            continue  # an error of the class
        tokenizer_config = None if config is None else {"tokenizer_class": f"{name}TokenizerFast", **config}
        model_config = {"model_type": "bert", "tokenizer_class": f"{name}Tokenizer"}
        path = folder_of(tmp_path / str(number), backend, tokenizer_config, **{"config.json": model_config})
        if config == CONFIGS["nulls"] and name in BEGINS:
            with pytest.raises(ValueError, match="bos_token = None"):
                transformers.AutoTokenizer.from_pretrained(path)
            with pytest.raises(CheckpointError, match="the tokenizer has no bos_token"):
                AutoTokenizer.from_pretrained(path)
        else:
            assert_same(path)


@pytest.mark.parametrize("prefix_space", [True, False])
@pytest.mark.parametrize("name", sorted(set(LOADABLE) - {"Llama", "T5", "MT5"}))  # which then read other files
def test_prefix_space(byte_level, name, prefix_space, tmp_path):
    config = {"tokenizer_class": f"{name}TokenizerFast", "add_prefix_space": prefix_space}
    assert_same(folder_of(tmp_path / "a", byte_level, config))


@pytest.mark.parametrize("name", sorted(set(LOADABLE) - {"Splinter", "Pegasus"}))
@pytest.mark.parametrize("decoder", [True, False], ids=["added_tokens_decoder", "older files"])
def test_older_files(word_pieces, name, decoder, tmp_path):
    config: dict[str, Any] = {"tokenizer_class": f"{name}Tokenizer", "mask_token": "[MASK]", "unk_token": "power"}
    if decoder:
        config["added_tokens_decoder"] = CONFIGS["added"]["added_tokens_decoder"]
    _, ours = assert_same(folder_of(tmp_path / "a", word_pieces, config, **FILES))
    assert ours.unk_token == ("power" if decoder else "[UNK]")


def test_padding_and_truncation_of_the_file(backend, tmp_path):
    values = json.loads(backend)
    values["truncation"] = {"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    values["padding"] = {
        "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip
    for name in ("PreTrained", "Bert", "GPT2", "Llama"):
        assert_same(
            folder_of(
                tmp_path / name, json.dumps(values), {"tokenizer_class": f"{name}TokenizerFast", "unk_token": "[UNK]"}
            )
        )


@pytest.mark.parametrize("model_type", sorted(set(TOKENIZER_MAPPING_NAMES) & set(CONFIG_MAPPING)))
def test_class_of_a_model_type(model_type):
    slow, fast = TOKENIZER_MAPPING_NAMES[model_type]
    config = CONFIG_MAPPING[model_type]
    if fast is None and (slow is None or getattr(transformers, f"{slow}Fast", None) is not None):
        return  # the slow class, whose defaults are not those of the fast one
    declared = getattr(config, "tokenizer_class", None)
    expected = (fast or slow).removesuffix("Fast").removesuffix("Tokenizer")
    got = class_name_of({}, ModelConfig({"model_type": model_type}))
    assert declared is not None or tokenizer_class(got) == tokenizer_class(expected)


@pytest.mark.parametrize("name", sorted(UNLOADABLE | SWITCHED))
def test_defaults_of_classes_that_do_not_load(name):
    cls = getattr(transformers, f"{name}TokenizerFast")
    defaults = tokenizer_class(name).defaults()
    signature = cls.__init__.__defaults__
    names = cls.__init__.__code__.co_varnames[1 : cls.__init__.__code__.co_argcount]
    declared = dict(zip(names[len(names) - len(signature) :], signature, strict=True))
    assert {role: declared.get(role) for role in ROLES} == {role: defaults[role] for role in ROLES}
    assert cls.model_input_names == defaults["model_input_names"]
    assert cls.padding_side == defaults.get("padding_side", "right")
