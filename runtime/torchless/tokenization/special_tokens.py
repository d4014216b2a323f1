"""A tokenizer's special tokens by their roles, read from `tokenizer_config.json`, and the inputs that its model takes."""

from collections.abc import Mapping
from typing import Any

__all__ = ["all_special_tokens", "model_input_names", "special_tokens", "special_tokens_map"]

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# Tokenizer classes whose models take no token_type_ids. Source: `model_input_names` of the classes in
# transformers 4.57.6; every other class keeps the base class's three names.
_WITHOUT_TOKEN_TYPES = frozenset({
    "Bart", "Barthez", "BigBird", "Blenderbot", "BlenderbotSmall", "Bloom", "CLIP", "Camembert", "CodeGen",
    "CodeLlama", "Cohere", "DPRReader", "DistilBert", "GPT2", "GPTNeoX", "Gemma", "LED", "Llama", "Longformer",
    "MBart", "MBart50", "MPNet", "Marian", "Mvp", "Nllb", "OpenAIGPT", "Pegasus", "Qwen2", "Reformer", "Roberta",
    "T5", "Whisper", "XGLM", "XLMRoberta",
})  # fmt: skip


def special_tokens(config: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the token of each role, None where the tokenizer has none.

    Args:
        config: The values of `tokenizer_config.json`; a token is a string, or an object with its `content`.
    """
    return {role: _content(config.get(role)) for role in _ROLES}


def all_special_tokens(config: Mapping[str, Any]) -> list[str]:
    """Return every special token, those with a role first, each once."""
    additional = [_content(token) for token in config.get("additional_special_tokens") or ()]
    return list(dict.fromkeys(token for token in (*special_tokens(config).values(), *additional) if token))


def special_tokens_map(config: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the special tokens that there are by role, the additional ones as a list."""
    additional = [_content(token) or "" for token in config.get("additional_special_tokens") or ()]
    extra = config.get("extra_special_tokens")
    named = {role: _content(token) for role, token in extra.items()} if isinstance(extra, dict) else {}
    by_role = {**special_tokens(config), **named, "additional_special_tokens": additional}
    return {role: token for role, token in by_role.items() if token}


def model_input_names(config: Mapping[str, Any]) -> list[str]:
    """Return what a tokenizer returns by default: as the checkpoint declares, or else as its class does.

    Args:
        config: The values of `tokenizer_config.json`.
    """
    declared: list[str] | None = config.get("model_input_names")
    family = str(config.get("tokenizer_class", "")).removesuffix("Fast").removesuffix("Tokenizer")
    by_class = ["input_ids", "attention_mask"] if family in _WITHOUT_TOKEN_TYPES else [
        "input_ids", "token_type_ids", "attention_mask",
    ]  # fmt: skip
    return declared or by_class


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token
