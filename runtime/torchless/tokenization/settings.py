"""A tokenizer's settings: what its files say beside `tokenizer.json`, and its class where they are silent."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from tokenizers import AddedToken, Tokenizer

from torchless.errors import CheckpointError
from torchless.folder.model_folder import ModelFolder
from torchless.tokenization.languages import MBART50_LANGUAGES, MBART_LANGUAGES, NLLB_LANGUAGES
from torchless.tokenization.special_tokens import content_of
from torchless.tokenization.tokenizer_classes import ROLES, TokenizerClass, class_name_of, tokenizer_class

__all__ = ["read_settings"]

_CONFIG = "tokenizer_config.json"
_FIELDS = ("lstrip", "rstrip", "single_word", "normalized", "special")
_PEGASUS_OFFSET = 103
_T5_EXTRA_IDS = 100
_CODE_LLAMA_TOKENS = {
    "prefix_token": "▁<PRE>",
    "middle_token": "▁<MID>",
    "suffix_token": "▁<SUF>",
    "eot_token": "▁<EOT>",
}


def read_settings(folder: ModelFolder, backend: Tokenizer) -> dict[str, Any]:
    """Return the settings of a folder's tokenizer, by their names in `tokenizer_config.json`.

    Args:
        folder: The folder.
        backend: The tokenizer of its `tokenizer.json`, as it was read.

    Returns:
        All that the files say, over the defaults of the class. `tokenizer_class` is the class's name without `Tokenizer`
        and `Fast`; `added_tokens` is a list of the tokens that the vocabulary must have, each a `tokenizers.AddedToken`;
        special tokens are strings, or such objects where something says how they are found in a text. `backend` is there
        where transformers 5 wrote the files.

    Raises:
        CheckpointError: A file is damaged.

    Source: `_from_pretrained` of transformers 4.57.6, tokenization_utils_base.py; `AutoTokenizer`;
        `PreTrainedTokenizerFast.__init__`, tokenization_utils_fast.py.
    """
    config = folder.read_optional_json(_CONFIG)
    name = class_name_of(config, folder.config)
    defaults = tokenizer_class(name)
    declared = _declared(config)
    if isinstance(config.get("added_tokens_decoder"), dict):
        added = {int(index): _added_token(token) for index, token in config["added_tokens_decoder"].items()}
    else:
        declared |= _special_tokens_map(folder, declared.get("additional_special_tokens") or [])
        added = {**_added_tokens_file(folder, declared), **backend.get_added_tokens_decoder()}
    by_content = {token.content: token for token in added.values()}
    for role in ROLES:
        token = declared.get(role)
        if token is not None:
            declared[role] = by_content.get(str(content_of(token)), token)

    settings = {**_defaults(defaults, backend), **declared}
    if "backend" in config and "add_prefix_space" not in config:
        settings["add_prefix_space"] = None  # transformers 5 takes this from tokenizer.json
    for key in ("max_len", "model_max_length"):
        if settings.get(key) == inf:
            settings[key] = None
    settings["tokenizer_class"] = name
    settings["pad_token_type_id"] = defaults.pad_token_type_id
    settings["model_input_names"] = config.get("model_input_names") or list(defaults.model_input_names)
    settings["additional_special_tokens"] = _additional(name, settings)
    settings["added_tokens"] = [added[index] for index in sorted(added)] if name != "Pegasus" else []
    for role, flags in defaults.flags.items():
        if isinstance(settings[role], str):
            settings[role] = AddedToken(settings[role], **flags)
    return settings


def _declared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `tokenizer_config.json`, its tokens read."""
    declared = {key: _as_token(value) if key in ROLES else value for key, value in config.items()}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        if isinstance(config.get(key), list):  # transformers 5 calls the additional tokens extra
            declared["additional_special_tokens"] = [*map(_as_token, config[key])]
    # The files of transformers 5 name tokens of other roles by the second key.
    keys = ("extra_special_tokens", "model_specific_special_tokens")
    named = [config[key] for key in keys if isinstance(config.get(key), dict)]
    declared["extra_special_tokens"] = {role: _as_token(token) for tokens in named for role, token in tokens.items()}
    return declared


def _as_token(value: Any) -> Any:
    return _added_token(value) if isinstance(value, dict) and "content" in value else value


def _added_token(value: Any, **fields: bool) -> AddedToken:
    try:
        return AddedToken(value["content"], **{name: value[name] for name in _FIELDS if name in value} | fields)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{_CONFIG} has an added token that is not a token: {value!r}.",
            hint='Write it as {"content": "…", "special": true}, or export the checkpoint again.',
        ) from error


def _special_tokens_map(folder: ModelFolder, additional: list[Any]) -> dict[str, Any]:
    """Return what `special_tokens_map.json` says: it comes before `tokenizer_config.json`, and adds to its additional tokens."""
    declared: dict[str, Any] = {}
    for key, value in folder.read_optional_json("special_tokens_map.json").items():
        if isinstance(value, dict) and "content" in value:
            declared[key] = _added_token(value, special=True)
        elif key == "additional_special_tokens":
            tokens = [_added_token(token, special=True) if isinstance(token, dict) else token for token in value or ()]
            present = set(map(content_of, additional))
            declared[key] = [*additional, *(token for token in tokens if content_of(token) not in present)]
        else:
            declared[key] = value
    return declared


def _added_tokens_file(folder: ModelFolder, declared: Mapping[str, Any]) -> dict[int, AddedToken]:
    """Return the tokens of `added_tokens.json`, which older versions wrote, by their ids."""
    added = folder.read_optional_json("added_tokens.json")
    for token, index in added.items():
        if not isinstance(index, int) or index < 0:
            raise CheckpointError(
                f"added_tokens.json has {index!r} as the id of {token!r}.",
                hint="Write a whole number, or export the checkpoint again.",
            )
    special = {content_of(declared.get(role)) for role in ROLES}
    special |= set(map(content_of, declared.get("additional_special_tokens") or ()))
    return {
        index: AddedToken(token, normalized=token not in special, special=token in special)
        for token, index in added.items()
    }


def _defaults(defaults: TokenizerClass, backend: Tokenizer) -> dict[str, Any]:
    """Return the defaults of a class, with what the truncation and padding of `tokenizer.json` say over them."""
    settings = defaults.defaults()
    truncation, padding = backend.truncation, backend.padding
    if truncation:
        settings["truncation_side"] = truncation["direction"]
    if padding:
        settings["padding_side"] = padding["direction"]
        settings["pad_token"] = settings["pad_token"] or padding["pad_token"]
    return settings


def _additional(name: str, settings: Mapping[str, Any]) -> list[Any]:
    """Return the special tokens without a role, those that the class adds among them."""
    declared = settings.get("additional_special_tokens")
    tokens = list(declared or ())
    contents = [str(content_of(token)) for token in tokens]
    if name in {"T5", "MT5"} and not any("<extra_id_" in token for token in contents):
        return tokens + [f"<extra_id_{index}>" for index in range(settings.get("extra_ids", _T5_EXTRA_IDS))]
    if name == "Pegasus":
        sentence, offset = settings.get("mask_token_sent", "<mask_1>"), settings.get("offset", _PEGASUS_OFFSET)
        tokens = [*([sentence] if sentence is not None and sentence not in contents else []), *tokens]
        unknown = range(2, offset) if declared is None else range(len(tokens), offset - 1)
        return tokens + [f"<unk_{index}>" for index in unknown]
    if name == "Nllb":
        return list(NLLB_LANGUAGES) if declared is None else tokens
    added: Iterable[str | None] = ()
    if name == "MBart":
        return [*MBART_LANGUAGES, *(token for token in tokens if content_of(token) not in MBART_LANGUAGES)]
    if name == "MBart50":
        added = MBART50_LANGUAGES
    elif name == "XGLM":
        added = [f"<madeupword{index}>" for index in range(7)]
    elif name == "CodeLlama":
        added = [settings.get(role, token) for role, token in _CODE_LLAMA_TOKENS.items()]
    return tokens + [token for token in added if token is not None and token not in contents]
