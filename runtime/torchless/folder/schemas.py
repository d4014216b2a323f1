"""The schema of each file of a folder: the types of the values that the runtime reads. Other values are not looked at."""

from collections.abc import Callable, Iterable, Mapping
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from torchless.errors import CheckpointError, shortened
from torchless.folder.layout import LIMIT_FILES, POOLING_CONFIG, SENTENCE_CONFIG

__all__ = ["MANIFEST", "PART", "VARIANT", "VERIFICATION", "Rule", "check_values", "schema_of"]

_MAX_LABELS = 2**20
_MAX_TOKENS = 2**31
_MAX_ADDED_TOKENS = 2**16


class Rule(NamedTuple):
    """What a value must be.

    Attributes:
        holds: Tells whether a value is possible.
        description: The possible values, as the end of a sentence.
    """

    holds: Callable[[Any], bool]
    description: str


def _is_whole(value: Any, low: int = 0, high: int = _MAX_TOKENS) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_label_key(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10


def _is_token(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("content"), str))


def _is_source(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(name) or "", str) for name in ("name", "revision"))
        and _MAP_OF_TEXTS.holds(value.get("files", {}))
        and ("base" not in value or _is_source(value["base"]))
    )


def _optional(rule: Rule) -> Rule:
    return Rule(lambda value: value is None or rule.holds(value), f"{rule.description}, or null")


def _whole(low: int, high: int = _MAX_TOKENS) -> Rule:
    return Rule(lambda value: _is_whole(value, low, high), f"a whole number from {low} to {high}")


def _list_of(rule: Rule, plural: str) -> Rule:
    return Rule(lambda value: isinstance(value, list) and all(map(rule.holds, value)), f"a list of {plural}")


def _mapping_of(rule: Rule, plural: str) -> Rule:
    return Rule(
        lambda value: isinstance(value, dict) and all(map(rule.holds, value.values())), f"an object of {plural}"
    )


def _either(*rules: Rule) -> Rule:
    return Rule(lambda value: any(rule.holds(value) for rule in rules), " or ".join(rule.description for rule in rules))


def _rules(rule: Rule, names: Iterable[str]) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


_TEXT = Rule(lambda value: isinstance(value, str), "a text")
_FLAG = Rule(lambda value: isinstance(value, bool), "true or false")
_OBJECT = Rule(lambda value: isinstance(value, dict), "an object")
_NUMBER = Rule(lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number")
_SIDE = Rule(lambda value: value in ("left", "right"), '"left" or "right"')
_TEXTS = _list_of(_TEXT, "texts")
_MAP_OF_TEXTS = _mapping_of(_TEXT, "texts")
_TOKEN = Rule(_is_token, "a token")
_TOKENS = _list_of(_TOKEN, "tokens")
_TOKEN_ID = _whole(-1)
# The reference takes any number here. NaN is none, and infinity means no limit.
_LIMIT = Rule(
    lambda value: _NUMBER.holds(value) and not isnan(value) and value >= 0,
    "a number of tokens from 0",
)
_LABELS = Rule(
    lambda value: (
        isinstance(value, dict)
        and len(value) <= _MAX_LABELS
        and all(map(_is_label_key, value))
        and all(isinstance(label, str | int | float) for label in value.values())
    ),
    "an object of labels by their numbers",
)

_ROLES = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
_TOKEN_SETTINGS = {
    **_rules(_optional(_TOKEN), _ROLES),
    "additional_special_tokens": _optional(_TOKENS),
}
_ROPE = Rule(
    lambda value: (
        isinstance(value, dict)
        and _NUMBER.holds(value.get("factor") or 1)
        and 0 < (value.get("factor") or 1) < _MAX_TOKENS
    ),
    'an object whose "factor" is a number above 0',
)
_PARAMETERS = Rule(
    lambda value: isinstance(value, dict) and isinstance(value.get("prefix") or "", str),
    'an object whose "prefix" is a text',
)
_TEMPLATES = _either(
    _TEXT,
    _MAP_OF_TEXTS,
    Rule(
        lambda value: (
            isinstance(value, list)
            and all(
                isinstance(entry, dict) and _TEXT.holds(entry.get("name")) and _TEXT.holds(entry.get("template"))
                for entry in value
            )
        ),
        'a list of objects that have a "name" and a "template"',
    ),
)
_POOLING_FLAGS = (
    "pooling_mode_cls_token", "pooling_mode_max_tokens", "pooling_mode_mean_tokens", "pooling_mode_lasttoken",
    "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens",
)  # fmt: skip

_SCHEMAS: Mapping[str, Mapping[str, Rule]] = {
    "config.json": {
        **_rules(
            _optional(_TEXT), ("model_type", "position_embedding_type", "prefix", "problem_type", "tokenizer_class")
        ),
        **_rules(
            _optional(_whole(0)),
            ("d_model", "dim", "hidden_size", "original_max_position_embeddings", "vocab_size"),
        ),
        "architectures": _optional(_TEXTS),
        "encoder": _optional(_OBJECT),
        "id2label": _optional(_LABELS),
        "label2id": _optional(_OBJECT),
        "num_labels": _whole(0, _MAX_LABELS),
        "pad_token_id": _optional(_TOKEN_ID),
        "rope_scaling": _optional(_ROPE),
        "sbert_ce_default_activation_function": _optional(_TEXT),
        "sentence_transformers": _optional(_OBJECT),
        "task_specific_params": _optional(_mapping_of(_optional(_PARAMETERS), "objects")),
    },
    "tokenizer_config.json": {
        **_TOKEN_SETTINGS,
        **_rules(_optional(_FLAG), ("add_bos_token", "add_eos_token", "add_prefix_space")),
        **_rules(_optional(_LIMIT), ("max_len", "model_max_length")),
        **_rules(_optional(_whole(0, _MAX_ADDED_TOKENS)), ("extra_ids", "offset")),
        **_rules(_optional(_TEXT), ("mask_token_sent", "src_lang", "tgt_lang", "tokenizer_class")),
        **_rules(_SIDE, ("padding_side", "truncation_side")),
        "added_tokens_decoder": _optional(
            Rule(
                lambda value: isinstance(value, dict) and all(map(_is_label_key, value)),
                "an object of tokens by their ids",
            )
        ),
        "chat_template": _optional(_TEMPLATES),
        "extra_special_tokens": _optional(_either(_TOKENS, _mapping_of(_TOKEN, "tokens"))),
        "model_input_names": _optional(_TEXTS),
        "model_specific_special_tokens": _optional(_mapping_of(_TOKEN, "tokens")),
        "pad_token_type_id": _whole(0),
    },
    "special_tokens_map.json": _TOKEN_SETTINGS,
    POOLING_CONFIG: {
        **_rules(_optional(_FLAG), _POOLING_FLAGS),
        "pooling_mode": _optional(_either(_TEXT, _TEXTS)),
    },
    SENTENCE_CONFIG: {
        "activation_fn": _optional(_TEXT),
        "default_prompt_name": _optional(_TEXT),
        "prompts": _optional(_mapping_of(_optional(_TEXT), "texts")),
        "truncate_dim": _optional(_whole(1)),
    },
    **{name: {"do_lower_case": _optional(_FLAG), "max_seq_length": _optional(_whole(0))} for name in LIMIT_FILES},
}

MANIFEST: Mapping[str, Rule] = {
    "files": _MAP_OF_TEXTS,
    "max_tokens": _optional(_whole(1)),
    "rejected": _MAP_OF_TEXTS,
    "source": Rule(_is_source, "what an export writes: a name, a revision, the hashes of files"),
    "task": _TEXT,
    "variants": _mapping_of(_OBJECT, "objects"),
    "versions": _MAP_OF_TEXTS,
}
VARIANT: Mapping[str, Rule] = {
    "batch_dependent": _FLAG,
    "parts": _list_of(_OBJECT, "objects"),
    "scheme": _TEXT,
    "verification": _optional(_OBJECT),
}
PART: Mapping[str, Rule] = {"file": _TEXT, "sha256": _TEXT, "size_bytes": _whole(0, 2**62)}
VERIFICATION: Mapping[str, Rule] = {
    **_rules(_NUMBER, ("agreement", "max_abs_diff", "mean_abs_diff", "ms_per_text", "reference_ms_per_text")),
    **_rules(_optional(_NUMBER), ("perplexity", "reference_perplexity", "tolerance")),
    "kinds": _mapping_of(_NUMBER, "numbers"),
    "lengths": _list_of(_whole(0), "whole numbers"),
    "texts": _whole(0),
}


def schema_of(name: str) -> Mapping[str, Rule]:
    """Return the rules for the values of a file, by its path in the folder; none if it has no schema."""
    return _SCHEMAS.get(name, {})


def check_values(path: Path, values: Mapping[str, Any], rules: Mapping[str, Rule], *, kind: str = "") -> None:
    """Raise unless values are what the rules say. A value may be missing.

    Args:
        path: The file, for the error.
        values: Its values.
        rules: The rules by name.
        kind: What the file should be, if a wrong value says that it is something else.

    Raises:
        CheckpointError: A value is not possible.
    """
    for name, rule in rules.items():
        if name in values and not rule.holds(values[name]):
            begin = f"{path} is not {kind}: it" if kind else f"{path}"
            raise CheckpointError(
                f"{begin} has {name} = {shortened(values[name])}, which must be {rule.description}.",
                hint=f"Correct {path.name}, or export the checkpoint again.",
            )
