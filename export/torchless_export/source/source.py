"""What to export: a folder, a Hub name, or an adapter over a base; found without PyTorch, then loaded with it."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchless.errors import ExportError, ExportWarning, TorchlessError
from torchless.folder.hub import is_path, snapshot
from torchless.folder.json_files import read_json
from torchless.tasks import Task, find_task, task_of_architectures
from torchless_export.hashes import sha256_of

__all__ = ["SENTENCE_FILES", "LoadedModel", "Source", "find_source", "load", "load_config"]

_ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_model.bin")
_OTHER_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja")
_CODE = ("*.py",)
_TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm")

# PEFT's names for what an adapter was trained for.
_ADAPTER_TASKS = {
    "CAUSAL_LM": "text-generation",
    "FEATURE_EXTRACTION": "feature-extraction",
    "QUESTION_ANS": "question-answering",
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
}

# What a sentence-transformers folder says about embeddings, beside the weights.
SENTENCE_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint that was found.

    Attributes:
        name: What the user called it.
        folder: Where its files are.
        revision: The commit, if it came from the Hub.
        base: For an adapter, the checkpoint that it changes.
        allow_pickle: Weights may be read from pickle files.
        trust_remote_code: Code that the checkpoint brings may run.
    """

    name: str
    folder: Path
    revision: str | None = None
    base: "Source | None" = None
    allow_pickle: bool = False
    trust_remote_code: bool = False

    @property
    def homes(self) -> "tuple[Source, ...]":
        """The source itself, and the base that it may have."""
        return (self,) if self.base is None else (self, self.base)

    def weights(self) -> list[Path]:
        """Return the files of its weights that are read: safetensors, or else pickles if they are allowed."""
        stem, pickled = ("model", "pytorch_model") if self.base is None else ("adapter_model", "adapter_model")
        found = [
            path for pattern in (f"{stem}.safetensors", f"{stem}-*.safetensors") for path in self.folder.glob(pattern)
        ]
        if not found and self.allow_pickle:
            found = [path for pattern in (f"{pickled}.bin", f"{pickled}-*.bin") for path in self.folder.glob(pattern)]
        return sorted(found)

    def code(self) -> list[str]:
        """Return the files of code that the checkpoint names; one of another repository as user/repository/file."""
        return sorted(
            {
                f"{value.rpartition('.')[0].replace('--', '/')}.py"
                for file in ("config.json", "tokenizer_config.json")
                if (self.folder / file).is_file()
                for value in _strings((read_json(self.folder / file).get("auto_map") or {}).values())
            }
        )

    def task(self) -> Task:
        """Return the task that the checkpoint was trained for.

        Raises:
            ExportError: It does not say, or says one that cannot be exported.
        """
        if self.base is not None:
            kind = read_json(self.folder / _ADAPTER_CONFIG).get("task_type")
            if kind in _ADAPTER_TASKS:
                return find_task(_ADAPTER_TASKS[kind])
            raise ExportError(
                f"The adapter {self.name!r} was trained for {kind!r}.", hint="Say what to export it for with --task."
            )
        architectures = read_json(self.folder / "config.json").get("architectures") or []
        found = task_of_architectures(architectures)
        if found is None and any(not name.endswith("Model") for name in architectures):
            raise ExportError(
                f"The checkpoint {self.name!r} holds {', '.join(architectures)}, which has no task here.",
                hint="Say what to export it for with --task.",
            )
        return found or find_task("feature-extraction")

    def sentence_files(self) -> Iterator[tuple[str, Path]]:
        """Yield the sentence-transformers files, by their place in the folder: an adapter's own before its base's."""
        for name in SENTENCE_FILES:
            found = next((home.folder / name for home in self.homes if (home.folder / name).is_file()), None)
            if found is not None:
                yield name, found

    def record(self) -> dict[str, Any]:
        """Return what the manifest says of this source: its name, its revision, the SHA-256 of its files."""
        files = {path.name: sha256_of(path) for path in sorted(self._files()) if path.is_file()}
        record: dict[str, Any] = {"name": self.name, "files": files}
        if self.revision is not None:
            record["revision"] = self.revision
        if self.base is not None:
            record["base"] = self.base.record()
        return record

    def _files(self) -> Iterator[Path]:
        weights = (*_WEIGHTS, *_PICKLED_WEIGHTS) if self.allow_pickle else _WEIGHTS
        code = _CODE if self.trust_remote_code else ()
        return (path for pattern in {*weights, *_OTHER_FILES, *code} for path in self.folder.glob(pattern))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A checkpoint in memory: PyTorch's model in evaluation mode, and transformers' fast tokenizer."""

    model: Any
    tokenizer: Any


def find_source(
    name: str,
    *,
    revision: str | None = None,
    base_model: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Source:
    """Find a checkpoint's files: in a folder, in the Hub's cache, or on the Hub.

    Args:
        name: A folder, or a name on the Hub.
        revision: A branch, tag or commit on the Hub.
        base_model: For an adapter, the folder or name of its base; by default what the adapter says.
        allow_pickle: Weights may be read from pickle files, which can run code.
        trust_remote_code: Code that the checkpoint brings may run.

    Raises:
        ExportError: Nothing was found, or it is not a checkpoint.
    """
    folder, commit = _locate(name, revision, allow_pickle=allow_pickle)
    base = None
    if (folder / _ADAPTER_CONFIG).is_file():
        base_name = base_model or read_json(folder / _ADAPTER_CONFIG).get("base_model_name_or_path")
        if not base_name:
            raise ExportError(
                f"The adapter {name!r} does not say what it was trained over.", hint="Say it with --base-model."
            )
        base = find_source(base_name, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    elif base_model is not None:
        raise ExportError(
            f"{name!r} is no adapter: it has no {_ADAPTER_CONFIG}.", hint="Leave --base-model out, or name an adapter."
        )
    elif not (folder / "config.json").is_file():
        raise ExportError(
            f"{name!r} is no checkpoint: {folder} has no config.json.",
            hint="Give a folder that save_pretrained wrote, or a name on the Hub.",
        )
    source = Source(
        name=name,
        folder=folder,
        revision=commit,
        base=base,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    if not source.weights():
        pickled = sorted(path.name for pattern in _PICKLED_WEIGHTS for path in folder.glob(pattern))
        raise ExportError(
            f"{name!r} has no safetensors weights{f', only {pickled[0]}' if pickled else ''}.",
            hint="If you trust its author, add --allow-pickle: reading a pickle can run any code."
            if (pickled or commit) and not allow_pickle
            else "Save the model again with save_pretrained.",
        )
    return source


def load_config(source: Source, task: Task) -> Any:
    """Load the configuration of the model that shall be exported, and see that no unasked code is needed for it.

    Args:
        source: What was found.
        task: It chooses the head.

    Raises:
        ExportError: It cannot be loaded, or only by running code that the checkpoint brings.
    """
    import transformers

    # An adapter that brings a config.json says what its labels mean; else its head says how many there are.
    home = next((home for home in source.homes if (home.folder / "config.json").is_file()), source)
    with _explained(home, f"{home.name!r} cannot be loaded", hint="Check that transformers.AutoConfig loads it."):
        config = transformers.AutoConfig.from_pretrained(home.folder, trust_remote_code=source.trust_remote_code)
    named = task.auto_class in (getattr(config, "auto_map", None) or {})
    native = type(config) in getattr(transformers, task.auto_class)._model_mapping  # noqa: SLF001 - as from_pretrained asks
    if named and not native and not source.trust_remote_code:
        raise _needs_code(home)
    return config


def load(source: Source, task: Task, *, allow_random_head: bool = False) -> LoadedModel:
    """Load a checkpoint with PyTorch; an adapter is merged into its base.

    Args:
        source: What was found.
        task: It chooses the head.
        allow_random_head: Accept a head that the checkpoint has no weights for.

    Raises:
        ExportError: It cannot be loaded, has no weights for the task's head, or has no fast tokenizer.
        MissingExtraError: A package that reads its tokenizer is not installed.
    """
    from torchless_export.source.slow_tokenizers import load_tokenizer

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
        tokenizer = load_tokenizer(home.folder, trust_remote_code=source.trust_remote_code)
    model, missing = _load_adapter(source, task) if source.base else _from_pretrained(source, task)
    if missing and not allow_random_head:
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
    return LoadedModel(model=model.eval(), tokenizer=tokenizer)


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
    config = load_config(source, task)
    labels = _labels_of_head(brought)
    if labels is not None and labels != config.num_labels:
        config.num_labels = labels
    model, missing = _from_pretrained(source.base, task, config=config)
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
            trust_remote_code=source.trust_remote_code,
            **options,
        )
    # AutoModel leaves the pooler to be trained; the hidden states do not pass through it.
    return model, sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))


def _labels_of_head(weights: Mapping[str, Any]) -> int | None:
    """Return how many labels the head has that an adapter brings, or None if it brings none."""
    heads = ("classifier.weight", "classifier.out_proj.weight", "score.weight")
    return next((len(value) for name, value in weights.items() if name.endswith(heads)), None)


def _locate(name: str, revision: str | None, *, allow_pickle: bool) -> tuple[Path, str | None]:
    """Return the folder of a checkpoint, and its commit if it is from the Hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, None
    if is_path(name):
        raise ExportError(
            f"There is no folder {name!r}.", hint="Give the folder of a checkpoint, or a name on the Hub: user/model."
        )
    patterns = [*_WEIGHTS, *_OTHER_FILES, *_CODE, *(_PICKLED_WEIGHTS if allow_pickle else ())]
    found = snapshot(name, revision=revision, patterns=patterns, error=ExportError)
    return found, found.name


def _has_tokenizer(folder: Path) -> bool:
    return any(path for pattern in _TOKENIZERS for path in folder.glob(pattern))


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _strings(values: Iterable[Any]) -> Iterator[str]:
    """Yield the strings among values that may be lists: a tokenizer has two classes, of which one can be null."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _strings(value)


def _needs_code(source: Source) -> ExportError:
    return ExportError(
        f"{source.name!r} cannot be loaded without running code that it brings: {', '.join(source.code())}.",
        hint="Read that code; if you trust it, add --trust-remote-code.",
    )


@contextmanager
def _explained(source: Source, problem: str, *, hint: str) -> Iterator[None]:
    """Turn whatever a library raises (each architecture and format has its own errors) into one of ours."""
    try:
        yield
    except TorchlessError:
        raise
    except Exception as error:
        if source.code() and "trust_remote_code" in str(error):  # transformers never runs code that nobody asked for
            raise _needs_code(source) from error
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(f"{problem}: {reason}", hint=hint) from error
