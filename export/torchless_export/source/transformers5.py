"""Checkpoints that transformers 5 wrote, in the form that transformers 4.57.6 reads.

transformers 4.57.6 ignores the keys of a configuration that it does not know, without a warning. Version 5 writes some values
under other keys, so such a checkpoint would be read with default values, and would give other answers.

Source: `RotaryEmbeddingConfigMixin` in transformers 5.24, modeling_rope_utils.py; the configuration classes of both versions.
"""

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer

from torchless.errors import ExportError
from torchless.folder.json_files import read_json
from torchless_export.source.source import Source

__all__ = ["attention_options", "is_newer", "readable_folder", "readable_source", "restore_post_processor", "tie_head"]

_READ_VERSION = 4  # the major version of transformers that loads checkpoints here
_ROPE_TYPES = frozenset({"default", "linear", "dynamic", "yarn", "longrope", "llama3"})

# By type of layer, the keys of version 4: the base, and the scaling where there is one.
_GEMMA3 = {"full_attention": ("rope_theta", "rope_scaling"), "sliding_attention": ("rope_local_base_freq", None)}
_MODERNBERT = {"full_attention": ("global_rope_theta", None), "sliding_attention": ("local_rope_theta", None)}
_ROPE_BY_LAYER_TYPE: Mapping[str, Mapping[str, tuple[str, str | None]]] = {
    "gemma3_text": _GEMMA3,
    "gemma3n_text": _GEMMA3,
    "modernbert": _MODERNBERT,
    "modernbert-decoder": _MODERNBERT,
}
# Model types that have other keys in version 4 where the parameters are flat.
_NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
_ROPE_NAMES: Mapping[str, Mapping[str, str]] = {"gpt_neox": _NEOX, "gpt_neox_japanese": _NEOX}
# Where version 4 ties T5's embeddings, it also scales the decoder's outputs. Version 5 always ties, unless the weights have a head
# of their own, and says under another key whether it scales. Its MT5 never does.
_T5_TYPES = frozenset({"longt5", "mt5", "pop2piano", "t5", "umt5"})
_SCALED = "scale_decoder_outputs"
# Keys that version 4 does not know and that change no answer.
_HARMLESS = frozenset({
    "initializer_factor", "initializer_range", "num_nextn_predict_layers", "pretraining_tp", "router_aux_loss_coef",
    "use_associative_scan", "use_cache", "use_mambapy",
    "original_max_position_embeddings",  # the function of longrope reads it
})  # fmt: skip
# Values that version 4 has written into its code.
_CONSTANTS: Mapping[tuple[str, str], Any] = {
    ("esm", "rope_theta"): 10000.0,
    ("gpt_oss", "swiglu_alpha"): 1.702,
    ("gpt_oss", "swiglu_limit"): 7.0,
}

_PLAIN_TOKENIZER = "PreTrainedTokenizerFast"
# Tokenizer classes of version 5 whose models take token_type_ids. Source: `model_input_names` of the classes in 5.24.
_WITH_TOKEN_TYPES = frozenset({
    "Bert", "Canine", "DPRContextEncoder", "DPRQuestionEncoder", "Deberta", "DebertaV2", "FNet", "Funnel", "LayoutLMv2", "Lxmert",
    "MarkupLM", "MobileBert", "Tapas",
})  # fmt: skip
_PLAIN_TOKENIZERS_5 = frozenset({"TokenizersBackend", "PreTrainedTokenizerFast"})


@contextmanager
def readable_source(source: Source) -> Iterator[Source]:
    """Give a checkpoint, and the base that it may have, as transformers 4.57.6 reads it: see `readable_folder`.

    Args:
        source: The checkpoint.

    Raises:
        ExportError: A configuration has a value that transformers 4.57.6 cannot express.
    """
    allow_unknown_config = source.options.allow_unknown_config
    with ExitStack() as stack:
        base = None if source.base is None else stack.enter_context(readable_source(source.base))
        folder = stack.enter_context(readable_folder(source.folder, allow_unknown_config=allow_unknown_config))
        yield replace(source, folder=folder, base=base)


@contextmanager
def readable_folder(folder: Path, *, allow_unknown_config: bool = False) -> Iterator[Path]:
    """Give a folder that transformers 4.57.6 reads as transformers 5 reads the checkpoint.

    Args:
        folder: The checkpoint.
        allow_unknown_config: Accept keys of the configuration that transformers 4.57.6 does not know.

    Yields:
        The checkpoint itself if nothing has to change; otherwise a temporary folder of links, with new JSON files.

    Raises:
        ExportError: The configuration has a value that transformers 4.57.6 cannot express.
    """
    changed = dict(_changed_files(folder, allow_unknown_config=allow_unknown_config))
    if not changed:
        yield folder
        return
    with TemporaryDirectory(prefix="torchless-") as name:
        readable = Path(name)
        for path in folder.iterdir():
            if path.name not in changed:
                (readable / path.name).symlink_to(path.resolve())
        for file, values in changed.items():
            (readable / file).write_text(json.dumps(values, indent=2), encoding="utf-8")
        yield readable


def is_newer(config: Mapping[str, Any]) -> bool:
    """Return whether a newer major version of transformers wrote a checkpoint.

    Args:
        config: The values of `config.json`.
    """
    major = str(config.get("transformers_version") or "").partition(".")[0]
    return major.isdigit() and int(major) > _READ_VERSION


def attention_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `from_pretrained` that make transformers 4.57.6 compute attention as transformers 5 does.

    Version 5 refuses attention implementations that ignore `attn_logit_softcapping`; version 4 uses them.

    Args:
        config: The values of `config.json`.
    """
    softcapping = is_newer(config) and config.get("attn_logit_softcapping") is not None
    return {"attn_implementation": "eager"} if softcapping else {}


def restore_post_processor(tokenizer: Any, folder: Path) -> None:
    """Give a tokenizer of transformers 5 the special tokens around a text that its `tokenizer.json` says.

    Some classes of version 4 replace those of the file.

    Args:
        tokenizer: The fast tokenizer, loaded by transformers 4.57.6.
        folder: The checkpoint.
    """
    config, file = (folder / name for name in ("tokenizer_config.json", "tokenizer.json"))
    if not config.is_file() or not file.is_file():
        return
    values = read_json(config)
    if "backend" in values and not values.keys() & {"add_bos_token", "add_eos_token"}:
        tokenizer.backend_tokenizer.post_processor = Tokenizer.from_file(str(file)).post_processor


def tie_head(model: Any, missing: Sequence[str]) -> list[str]:
    """Give a T5 of transformers 5 the head that its weights leave out: the embeddings.

    Args:
        model: The model, loaded by transformers 4.57.6.
        missing: The weights that the checkpoint does not have.

    Returns:
        The weights that are still missing.
    """
    head = "lm_head.weight"
    if model.config.model_type not in _T5_TYPES or head not in missing:
        return list(missing)
    model.lm_head.weight = model.shared.weight
    return [name for name in missing if name != head]


def _changed_files(folder: Path, *, allow_unknown_config: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    config = folder / "config.json"
    if config.is_file():
        values = read_json(config)
        readable = _config(values, allow_unknown=allow_unknown_config)
        if readable != values:
            yield config.name, readable
    tokenizer_config = folder / "tokenizer_config.json"
    if tokenizer_config.is_file():
        values = read_json(tokenizer_config)
        readable = _tokenizer_config(values)
        if readable != values:
            yield tokenizer_config.name, readable


def _config(values: Mapping[str, Any], *, allow_unknown: bool) -> dict[str, Any]:
    """Return a configuration, and those within it, with the keys of version 4."""
    readable = {
        name: _config(value, allow_unknown=True) if isinstance(value, dict) and "model_type" in value else value
        for name, value in values.items()
    }
    model_type, newer = str(values.get("model_type")), is_newer(values)
    rope = readable.pop("rope_parameters", None)
    if rope:
        readable |= _rope(model_type, rope)
    if newer and model_type in _T5_TYPES and (_SCALED in readable or model_type == "mt5"):
        readable["tie_word_embeddings"] = readable.pop(_SCALED, False)
    if model_type == "modernbert" and "layer_types" in readable:
        _check_modernbert_layers(readable, list(readable.pop("layer_types")))
    if newer and not allow_unknown:
        unknown = _unknown(model_type, readable.keys() & values.keys(), readable)
        if unknown:
            raise ExportError(
                f"transformers {values['transformers_version']} wrote this checkpoint, and transformers {_read_version()} does not "
                f"know these keys of its config.json: {', '.join(unknown)}. Its answers could be wrong.",
                hint="If they change no answer, add --allow-unknown-config.",
            )
    return readable


def _rope(model_type: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of version 4 for rotary parameters: flat ones, or those of each type of layer."""
    if not any(isinstance(value, Mapping) or value is None for value in parameters.values()):
        return _flat_rope(model_type, parameters)
    by_layer_type = dict(parameters)
    distinct = {json.dumps(value, sort_keys=True) for value in by_layer_type.values()}
    if model_type not in _ROPE_BY_LAYER_TYPE and len(distinct) == 1 and None not in by_layer_type.values():
        return _flat_rope(model_type, next(iter(by_layer_type.values())))
    names = _ROPE_BY_LAYER_TYPE.get(model_type, {})
    if by_layer_type.keys() != names.keys() or None in by_layer_type.values():
        raise _not_expressible(model_type, parameters)
    readable: dict[str, Any] = {}
    for layer_type, (theta, scaling) in names.items():
        flat = _flat_rope(model_type, by_layer_type[layer_type])
        if scaling is None and (flat["rope_scaling"] or "partial_rotary_factor" in flat):
            raise _not_expressible(model_type, parameters)
        readable[theta] = flat["rope_theta"]
        if scaling is not None:
            readable[scaling] = flat["rope_scaling"]
    return readable


def _flat_rope(model_type: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    scaling = dict(parameters)
    rope_type = scaling.pop("rope_type", scaling.pop("type", "default"))
    if rope_type not in _ROPE_TYPES:
        raise _not_expressible(model_type, parameters)
    names = _ROPE_NAMES.get(model_type, {})
    readable = {
        names.get(name, name): scaling.pop(name) for name in ("rope_theta", "partial_rotary_factor") if name in scaling
    }
    if rope_type == "longrope":
        # Version 4 looks for it beside the scaling, and Phi-3's class takes no other key within.
        original = scaling.pop("original_max_position_embeddings", None)
        if original is not None:
            readable["original_max_position_embeddings"] = original
        if model_type.startswith("phi3"):
            scaling = {name: scaling[name] for name in ("short_factor", "long_factor")}
            return readable | {"rope_scaling": {"type": rope_type, **scaling}}
    return readable | {"rope_scaling": None if rope_type == "default" else {"rope_type": rope_type, **scaling}}


def _check_modernbert_layers(values: Mapping[str, Any], layer_types: list[str]) -> None:
    """Raise unless full attention follows a period, which is all that version 4 can express."""
    period = int(values.get("global_attn_every_n_layers", 3))
    expected = ["sliding_attention" if index % period else "full_attention" for index in range(len(layer_types))]
    if layer_types != expected:
        raise ExportError(
            f"The layer_types of this ModernBERT are {layer_types}, and transformers {_read_version()} expects full "
            f"attention in every layer whose index is a multiple of {period}.",
            hint="This checkpoint cannot be exported.",
        )


def _unknown(model_type: str, names: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return the keys that version 4 does not know, unless their values turn something off.

    It knows those of the configuration's class, and those that only the code of the model reads.
    """
    from transformers import CONFIG_MAPPING, PretrainedConfig

    if model_type not in CONFIG_MAPPING or "auto_map" in values:
        return []  # another message says that this type is unknown
    config_class = CONFIG_MAPPING[model_type]
    known = {"dtype", "torch_dtype", "transformers_version", *vars(config_class()), *config_class.attribute_map}
    known |= PretrainedConfig().to_dict().keys() | _HARMLESS
    for parent in config_class.__mro__:
        if "__init__" in vars(parent):
            known |= inspect.signature(parent.__init__).parameters.keys()
    unknown = {
        name
        for name in names
        if name not in known and values[name] not in (None, False, _CONSTANTS.get((model_type, name)))
    }
    return sorted(unknown - _read_by_model(config_class) if unknown else unknown)


def _read_by_model(config_class: type) -> set[str]:
    """Return the names that the model's code reads from its configuration, `config.name` and `getattr(config, "name")`."""
    path = Path(inspect.getfile(config_class))
    code = path.with_name(path.name.replace("configuration_", "modeling_"))
    if not code.is_file():
        return set()
    found = re.findall(r'\bconfig(?:\.(\w+)|, "(\w+)")', code.read_text(encoding="utf-8"))
    return {name for names in found for name in names if name}


def _tokenizer_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tokenizer's configuration with the keys of version 4."""
    import transformers

    readable = dict(values)
    if isinstance(values.get("extra_special_tokens"), list):
        readable["additional_special_tokens"] = readable.pop("extra_special_tokens")
    if "backend" not in values:
        return readable
    del readable["backend"]
    name = str(values.get("tokenizer_class"))
    if name in _PLAIN_TOKENIZERS_5 or not any(hasattr(transformers, f"{name}{end}") for end in ("", "Fast")):
        readable["tokenizer_class"] = _PLAIN_TOKENIZER
    token_types = ["token_type_ids"] if name.removesuffix("Tokenizer") in _WITH_TOKEN_TYPES else []
    readable.setdefault("model_input_names", ["input_ids", *token_types, "attention_mask"])
    return readable


def _read_version() -> str:
    import transformers

    return str(transformers.__version__)


def _not_expressible(model_type: str, parameters: Mapping[str, Any]) -> ExportError:
    return ExportError(
        f"transformers {_read_version()} cannot express the rope_parameters of this {model_type} model: {dict(parameters)!r}.",
        hint="This checkpoint cannot be exported.",
    )
