"""A checkpoint in memory: its configuration, its model in PyTorch, and its fast tokenizer."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchless.errors import ExportError, ExportWarning, TorchlessError
from torchless.folder.json_files import read_json
from torchless.tasks import Task
from torchless_export.source.model_state import ModelState
from torchless_export.source.slow_tokenizers import load_tokenizer
from torchless_export.source.source import Source
from torchless_export.source.transformers5 import (
    attention_options,
    is_newer,
    readable_source,
    restore_post_processor,
    tie_head,
)

__all__ = ["LoadedModel", "load", "load_config"]

# No answer to a text passes through the pooler, which AutoModel leaves to be trained, or through a model of images.
_UNUSED = re.compile(r"^pooler\.|\bvision_tower\.")
_TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A checkpoint in memory.

    Attributes:
        model: PyTorch's model in evaluation mode.
        tokenizer: The fast tokenizer of transformers.
        state: The model's state before its first text.
    """

    model: Any
    tokenizer: Any
    state: ModelState


def load_config(source: Source, task: Task) -> Any:
    """Load the configuration of the model that is exported, and check that it needs no code that was not allowed.

    Args:
        source: The checkpoint.
        task: It chooses the head.

    Raises:
        ExportError: It cannot be loaded, or only by running code that the checkpoint brings.
    """
    with readable_source(source) as readable:
        return _load_config(readable, task)


def _load_config(source: Source, task: Task) -> Any:
    import transformers

    # An adapter that brings a config.json says what its labels mean; else its head says how many there are.
    home = next((home for home in source.homes if (home.folder / "config.json").is_file()), source)
    values = read_json(home.folder / "config.json")
    model_type = values.get("model_type")
    if not model_type and "auto_map" not in values:
        raise _without_model_type(home, values.get("architectures"))
    if model_type and model_type not in transformers.CONFIG_MAPPING and "auto_map" not in values:
        raise ExportError(
            f"{home.name!r} has the architecture {model_type!r}, which transformers {transformers.__version__} does not know.",
            hint="Choose a checkpoint of another architecture.",
        )
    with _explained(home, f"{home.name!r} cannot be loaded", hint="Check that transformers.AutoConfig loads it."):
        config = transformers.AutoConfig.from_pretrained(
            home.folder, trust_remote_code=source.options.trust_remote_code
        )
    named = task.auto_class in (getattr(config, "auto_map", None) or {})
    native = type(config) in getattr(transformers, task.auto_class)._model_mapping  # noqa: SLF001 - as from_pretrained asks
    if named and not native and not source.options.trust_remote_code:
        raise _needs_code(home)
    return config


def _without_model_type(home: Source, architectures: Any) -> ExportError:
    """Return the error of a configuration without `model_type`, which transformers would guess from the folder's path."""
    import transformers

    model_class = getattr(transformers, str(architectures[0]), None) if architectures else None
    config_class = getattr(model_class, "config_class", None)
    hint = (
        'Add the name of its architecture, as in "model_type": "bert".'
        if config_class is None
        else f'Add the one of its class, {architectures[0]}: "model_type": "{config_class.model_type}".'
    )
    return ExportError(f"The config.json of {home.name!r} has no model_type, as those of old checkpoints.", hint=hint)


def load(source: Source, task: Task) -> LoadedModel:
    """Load a checkpoint with PyTorch; an adapter is merged into its base.

    Args:
        source: The checkpoint.
        task: It chooses the head.

    Raises:
        ExportError: It cannot be loaded, has no weights for the task's head, or has no fast tokenizer.
        MissingExtraError: A package that reads its tokenizer is not installed.
    """
    with readable_source(source) as readable:
        tokenizer = _load_tokenizer(readable)
        home = next(home for home in source.homes if _has_tokenizer(home.folder))
        restore_post_processor(tokenizer, home.folder)
        model, missing = _load_adapter(readable, task) if readable.base else _from_pretrained(readable, task)
    if missing and not source.options.allow_random_head:
        raise ExportError(
            f"{source.name!r} has no weights for {task.name}: {_listed(missing)}.",
            hint="Choose the task it was trained for with --task, or add --allow-random-head.",
        )
    if missing:
        warnings.warn(
            f"RANDOM weights: {source.name!r} has none for {_listed(missing)}. "
            f"Its answers to {task.name} mean nothing until they are trained.",
            ExportWarning,
            stacklevel=2,
        )
    _warn_of_tokens(model, tokenizer)
    return LoadedModel(model.eval(), tokenizer, ModelState(model))


def _load_tokenizer(source: Source) -> Any:
    home = next((home for home in source.homes if _has_tokenizer(home.folder)), None)
    if home is None:
        raise ExportError(
            f"{source.name!r} has no tokenizer.",
            hint="Put tokenizer.json and tokenizer_config.json beside the weights.",
        )
    with _explained(
        home,
        f"The tokenizer of {home.name!r} cannot be loaded",
        hint="Put tokenizer.json and tokenizer_config.json beside the weights.",
    ):
        return load_tokenizer(home.folder, trust_remote_code=source.options.trust_remote_code)


def _load_adapter(source: Source, task: Task) -> tuple[Any, list[str]]:
    """Return the base with the adapter merged into it, and the weights of its head that neither has."""
    import peft

    if source.base is None:
        raise ValueError("an adapter has a base")
    with _explained(
        source,
        f"The weights of the adapter {source.name!r} cannot be loaded",
        hint="Copy or download the adapter again.",
    ):
        brought = peft.utils.load_peft_weights(source.folder, device="cpu")
    config = _load_config(source, task)
    labels = _labels_of_head(brought)
    if labels is not None and labels != config.num_labels:
        config.num_labels = labels
    model, missing = _from_pretrained(source.base, task, config=config)
    missing = [*missing, *_resize_vocabulary(model, brought)]
    with _explained(
        source,
        f"The adapter {source.name!r} does not fit its base {source.base.name!r}",
        hint="Name the base that it was trained over with --base-model.",
    ):
        merged = peft.PeftModel.from_pretrained(model, source.folder).merge_and_unload()
    return merged, [name for name in missing if f"base_model.model.{name}" not in brought]


def _from_pretrained(source: Source, task: Task, **options: Any) -> tuple[Any, list[str]]:
    """Return the model, and the weights of its head that the checkpoint lacks."""
    import transformers

    model_class = getattr(transformers, task.auto_class)
    written = read_json(source.folder / "config.json")
    with _explained(
        source,
        f"{source.name!r} cannot be loaded for {task.name}",
        hint=f"Check that transformers.{task.auto_class} loads it, and that --task is one that its architecture has.",
    ):
        model, info = model_class.from_pretrained(
            source.folder,
            use_safetensors=all(path.suffix == ".safetensors" for path in source.weights()),
            output_loading_info=True,
            dtype="float32",
            trust_remote_code=source.options.trust_remote_code,
            **{**attention_options(written), **options},
        )
    missing = tie_head(model, info["missing_keys"]) if is_newer(written) else info["missing_keys"]
    return model, sorted(name for name in missing if not _UNUSED.search(name))


def _resize_vocabulary(model: Any, weights: Mapping[str, Any]) -> list[str]:
    """Give a base as many embeddings as an adapter brings, which may have added tokens to the vocabulary.

    Returns:
        The head's weights if it got rows that the adapter does not bring.
    """
    embeddings = model.get_input_embeddings().weight
    brought = _brought(model, embeddings, weights)
    if brought is None or len(brought) == len(embeddings):
        return []
    grown = len(brought) > len(embeddings)
    model.resize_token_embeddings(len(brought), mean_resizing=False)
    head = model.get_output_embeddings()
    if not grown or head is None or head.weight is model.get_input_embeddings().weight:
        return []
    return [_name_of(model, head.weight)] if _brought(model, head.weight, weights) is None else []


def _brought(model: Any, parameter: Any, weights: Mapping[str, Any]) -> Any:
    """Return the weights of an adapter that replace a parameter of its base; None if there are none."""
    module = f"base_model.model.{_name_of(model, parameter).removesuffix('.weight')}"
    # An adapter of the embeddings themselves wraps the whole table.
    wrapped = ("weight", "base_layer.weight", "token_adapter.base_layer.weight")
    return next((weights[f"{module}.{end}"] for end in wrapped if f"{module}.{end}" in weights), None)


def _name_of(model: Any, parameter: Any) -> str:
    return next(str(name) for name, value in model.named_parameters() if value is parameter)


def _warn_of_tokens(model: Any, tokenizer: Any) -> None:
    """Say which tokens of a tokenizer the model has no embeddings for."""
    embeddings = model.get_input_embeddings()
    rows = getattr(embeddings, "num_embeddings", None)
    beyond = [] if rows is None else sorted(token for token, index in tokenizer.get_vocab().items() if index >= rows)
    if beyond:
        warnings.warn(
            f"The tokenizer has {len(beyond)} tokens that the model's {rows} embeddings lack: {_listed(beyond)}. "
            "A text with such a token has no answer.",
            ExportWarning,
            stacklevel=3,
        )


def _labels_of_head(weights: Mapping[str, Any]) -> int | None:
    """Return how many labels the head has that an adapter brings, or None if it brings none."""
    heads = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
    return next((len(value) for name, value in weights.items() if name.endswith(heads)), None)


def _has_tokenizer(folder: Path) -> bool:
    return any(path for pattern in _TOKENIZERS for path in folder.glob(pattern))


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _needs_code(source: Source) -> ExportError:
    return ExportError(
        f"{source.name!r} cannot be loaded without running code that it brings: {', '.join(source.code())}.",
        hint="Read that code; if you trust it, add --trust-remote-code.",
    )


@contextmanager
def _explained(source: Source, problem: str, *, hint: str) -> Iterator[None]:
    """Turn an error of a library into an ExportError; each architecture and format has its own errors."""
    try:
        yield
    except TorchlessError:
        raise
    except Exception as error:
        if source.code() and "trust_remote_code" in str(error):  # transformers runs no code without the flag
            raise _needs_code(source) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
        raise ExportError(f"{problem}: {reason}", hint=hint) from error
