"""The tokenizer of `tokenizer.json`, as its class and `tokenizer_config.json` change it."""

import json
import pickle
from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

from torchless.errors import CheckpointError
from torchless.folder.model_folder import ModelFolder
from torchless.tokenization.languages import LanguageFrame
from torchless.tokenization.special_tokens import content_of, special_token_values

__all__ = ["adapt_backend", "read_backend"]

# Classes, by what their `__init__` changes.
_LOWERCASE = frozenset({
    "Bert", "ConvBert", "DPRContextEncoder", "DPRQuestionEncoder", "DPRReader", "DistilBert", "Electra", "Funnel",
    "LayoutLM", "LayoutLMv2", "Lxmert", "MPNet", "MobileBert", "Realm", "RetriBert", "RoFormer", "Splinter",
    "SqueezeBert",
})  # fmt: skip
_CHINESE_CHARACTERS = _LOWERCASE - {"LayoutLMv2", "MPNet", "RoFormer", "Splinter"}
_SPACES_IN_OFFSETS = frozenset({"Bart", "Blenderbot", "LED", "LayoutLMv3", "Longformer", "MarkupLM", "Mvp", "Roberta"})
_SPACES_ANYWHERE = frozenset({"Bloom", "Cohere"})
_BEGIN_AND_END = frozenset({"CodeLlama", "Cohere", "GPTNeoX", "Gemma", "Llama"})


def read_backend(folder: ModelFolder) -> Tokenizer:
    """Return the tokenizer of a folder's `tokenizer.json`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = folder.file("tokenizer.json")
    folder.check_settings()
    try:
        return Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:  # tokenizers raises a bare Exception, and if it panics no Exception
        raise CheckpointError(
            f"{path} is not a tokenizer: {error}", hint=f"Export the checkpoint again: {folder.export_command}"
        ) from error


def adapt_backend(backend: Tokenizer, settings: Mapping[str, Any], frame: LanguageFrame | None) -> None:
    """Change a tokenizer as its settings say, which come before `tokenizer.json`.

    Args:
        backend: The tokenizer.
        settings: What `read_settings` returned.
        frame: Where the language of a text stands, if the tokenizer's class puts it there.

    Raises:
        CheckpointError: The settings ask for a token before or after each text and name none, or a value is not possible.

    Source: `__init__` of the fast tokenizers in transformers 4.57.6.
    """
    name = settings["tokenizer_class"]
    backend.encode_special_tokens = bool(settings.get("split_special_tokens"))
    _add_tokens(backend, settings)
    # This class gives its own value to a tokenizer that it then leaves unused.
    prefix_space = False if name == "BlenderbotSmall" else settings.get("add_prefix_space", False)
    if isinstance(prefix_space, bool):
        _change(backend, "pre_tokenizer", pre_tokenizers, {"add_prefix_space": prefix_space})
    if name in _LOWERCASE:
        lowercase = {"lowercase": settings["do_lower_case"], "strip_accents": settings["strip_accents"]}
        characters = {"handle_chinese_chars": settings["tokenize_chinese_chars"]} if name in _CHINESE_CHARACTERS else {}
        _change(backend, "normalizer", normalizers, lowercase | characters)
    if name in _SPACES_IN_OFFSETS:
        keys = ("add_prefix_space", "trim_offsets")
        spaces = {key: settings[key] for key in keys if settings.get(key) is not None}
        _change(backend, "post_processor", processors, spaces)
    if name in _SPACES_ANYWHERE and prefix_space:
        backend.pre_tokenizer, backend.decoder = map(_with_spaces, (backend.pre_tokenizer, backend.decoder))
    if name in _BEGIN_AND_END and "backend" not in settings:  # transformers 5 takes them from tokenizer.json
        _begin_and_end(backend, settings)
    if frame is not None and frame.required:
        _frame(backend, settings, frame)


def _add_tokens(backend: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Add the tokens that the files and the class name, and change how those that are there are found in a text."""
    values = list(special_token_values(settings))
    present = backend.get_added_tokens_decoder().values()
    tokens = list(settings["added_tokens"])
    known = {token.content for token in (*present, *tokens)}
    tokens += [value for value in values if (value not in known if isinstance(value, str) else value not in tokens)]
    special = set(map(content_of, values))
    added = []
    for token in tokens:
        is_special = content_of(token) in special
        if isinstance(token, AddedToken):
            token.special = token.special or is_special
            added.append(token)
        else:
            added.append(AddedToken(token, special=is_special))
    changes = [token for token in added if token not in present]
    if changes:  # to add what is there already costs time
        backend.add_tokens(changes)


def _change(backend: Tokenizer, name: str, module: Any, values: Mapping[str, Any]) -> None:
    """Give a part of a tokenizer other values, if it has values by these names, and they differ."""
    part = getattr(backend, name)
    state = {} if part is None else json.loads(part.__getstate__())
    if any(state.get(key, value) != value for key, value in values.items()):
        kind = getattr(module, state.pop("type"))
        pairs = {key: tuple(state[key]) for key in ("sep", "cls") if key in state}
        try:
            setattr(backend, name, kind(**{**state, **pairs, **values}))
        except TypeError as error:
            raise CheckpointError(
                f"tokenizer_config.json has values that no {kind.__name__} takes: {error}.",
                hint=f"Write true or false for what becomes {', '.join(values)}, or export the checkpoint again.",
            ) from error


def _with_spaces(part: Any) -> Any:
    """Return a part of a tokenizer whose steps all put a space before a text."""
    return pickle.loads(pickle.dumps(part).replace(b'"add_prefix_space":false', b'"add_prefix_space": true'))  # noqa: S301


def _begin_and_end(backend: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Put the token that begins a text before it, and that which ends one after it, where the settings ask for them."""
    tokens = {role: content_of(settings[role]) for role in ("bos_token", "eos_token") if settings[f"add_{role}"]}
    for role, token in tokens.items():
        if token is None:
            raise CheckpointError(
                f"tokenizer_config.json asks for add_{role}, and the tokenizer has no {role}.",
                hint=f'Write "add_{role}": false into tokenizer_config.json, or name the {role} there.',
            )
    before, after = ([tokens[role]] if role in tokens else [] for role in ("bos_token", "eos_token"))

    def framed(text: str, type_id: int) -> list[str]:
        return [*(f"{token}:{type_id}" for token in before), text, *(f"{token}:{type_id}" for token in after)]

    single = framed("$A:0", 0)
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=[*single, *framed("$B:1", 1)], special_tokens=_with_ids(backend, tokens.values())
    )


def _frame(backend: Tokenizer, settings: Mapping[str, Any], frame: LanguageFrame) -> None:
    """Put the language of the settings, or else the class's default, beside each text; see `LanguageFrame`."""
    language: str | None = frame.token(settings.get("src_lang") or frame.default)
    if backend.token_to_id(language) is None and not frame.marked:  # then the reference names no language, either
        language = content_of(settings["unk_token"])
    tokens = [language if role == "language" else content_of(settings["eos_token"]) for role in frame.tokens]
    if any(token is None or backend.token_to_id(token) is None for token in tokens):
        return
    before, after = tokens[: frame.before], tokens[frame.before :]
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", "$B", *after],
        special_tokens=_with_ids(backend, tokens),
    )


def _with_ids(backend: Tokenizer, tokens: Any) -> list[tuple[str, int]]:
    return [(token, backend.token_to_id(token)) for token in dict.fromkeys(tokens)]
