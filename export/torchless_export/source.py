"""What to export: a folder, a Hub name, or an adapter over a base; found without PyTorch, then loaded with it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import errors as hub_errors

from torchless.checkpoint import read_json
from torchless.errors import ExportError
from torchless.tasks import Task, find_task, task_of_architectures

__all__ = ["SENTENCE_FILES", "LoadedModel", "Source", "find_source", "load"]

_ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_model.bin")
_OTHER_FILES = ("*.json", "*.txt", "*.model", "*.jinja")

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
    """

    name: str
    folder: Path
    revision: str | None = None
    base: "Source | None" = None
    allow_pickle: bool = False

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
        homes = [self.folder, *([self.base.folder] if self.base else [])]
        for name in SENTENCE_FILES:
            found = next((home / name for home in homes if (home / name).is_file()), None)
            if found is not None:
                yield name, found

    def record(self) -> dict[str, Any]:
        """Return what the manifest says of this source: its name, its revision, the SHA-256 of its files."""
        files = {path.name: _sha256(path) for path in sorted(self._files()) if path.is_file()}
        record: dict[str, Any] = {"name": self.name, "files": files}
        if self.revision is not None:
            record["revision"] = self.revision
        if self.base is not None:
            record["base"] = self.base.record()
        return record

    def _files(self) -> Iterator[Path]:
        weights = (*_WEIGHTS, *_PICKLED_WEIGHTS) if self.allow_pickle else _WEIGHTS
        return (path for pattern in {*weights, *_OTHER_FILES} for path in self.folder.glob(pattern))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A checkpoint in memory: PyTorch's model in evaluation mode, and transformers' fast tokenizer."""

    model: Any
    tokenizer: Any


def find_source(
    name: str, *, revision: str | None = None, base_model: str | None = None, allow_pickle: bool = False
) -> Source:
    """Find a checkpoint's files: in a folder, in the Hub's cache, or on the Hub.

    Args:
        name: A folder, or a name on the Hub.
        revision: A branch, tag or commit on the Hub.
        base_model: For an adapter, the folder or name of its base; by default what the adapter says.
        allow_pickle: Weights may be read from pickle files, which can run code.

    Raises:
        ExportError: Nothing was found, or it is not a checkpoint.
    """
    folder, commit = _locate(name, revision, allow_pickle=allow_pickle)
    if (folder / _ADAPTER_CONFIG).is_file():
        base_name = base_model or read_json(folder / _ADAPTER_CONFIG).get("base_model_name_or_path")
        if not base_name:
            raise ExportError(
                f"The adapter {name!r} does not say what it was trained over.", hint="Say it with --base-model."
            )
        base = find_source(base_name, allow_pickle=allow_pickle)
        return Source(name=name, folder=folder, revision=commit, base=base, allow_pickle=allow_pickle)
    if base_model is not None:
        raise ExportError(
            f"{name!r} is no adapter: it has no {_ADAPTER_CONFIG}.", hint="Leave --base-model out, or name an adapter."
        )
    if not (folder / "config.json").is_file():
        raise ExportError(
            f"{name!r} is no checkpoint: {folder} has no config.json.",
            hint="Give a folder that save_pretrained wrote, or a name on the Hub.",
        )
    if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)) and not allow_pickle:
        pickled = sorted(path.name for pattern in _PICKLED_WEIGHTS for path in folder.glob(pattern))
        raise ExportError(
            f"{name!r} has no safetensors weights{f', only {pickled[0]}' if pickled else ''}.",
            hint="If you trust its author, add --allow-pickle: reading a pickle can run any code."
            if pickled or commit
            else "Save the model again with save_pretrained.",
        )
    return Source(name=name, folder=folder, revision=commit, allow_pickle=allow_pickle)


def load(source: Source, task: Task, *, allow_random_head: bool = False) -> LoadedModel:
    """Load a checkpoint with PyTorch; an adapter is merged into its base.

    Args:
        source: What was found.
        task: It chooses the head.
        allow_random_head: Accept a head that the checkpoint has no weights for.

    Raises:
        ExportError: It cannot be loaded, has no weights for the task's head, or has no fast tokenizer.
    """
    import transformers

    tokenizer_home = next(
        (home.folder for home in (source, source.base) if home and _has_tokenizer(home.folder)), source.folder
    )
    with _explained(
        f"The tokenizer of {source.name!r} cannot be loaded",
        hint="Put tokenizer.json and tokenizer_config.json beside the weights.",
    ):
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_home)
    if not tokenizer.is_fast:
        raise ExportError(
            f"{type(tokenizer).__name__} has no fast version, which writes the tokenizer.json that the runtime reads.",
            hint="Put a tokenizer.json beside the weights.",
        )
    model = _load_adapter(source, task) if source.base else _load_model(source, task, allow_random_head)
    return LoadedModel(model=model.eval(), tokenizer=tokenizer)


def _load_model(source: Source, task: Task, allow_random_head: bool) -> Any:
    model, missing = _from_pretrained(source, task)
    if missing and not allow_random_head:
        raise ExportError(
            f"{source.name!r} has no weights for {task.name}: {', '.join(missing)}.",
            hint="Choose the task it was trained for with --task, or add --allow-random-head.",
        )
    return model


def _load_adapter(source: Source, task: Task) -> Any:
    import peft
    import transformers

    if source.base is None:
        raise ValueError("an adapter has a base")
    # An adapter that brings a config.json says what its labels mean; else its head says how many there are.
    home = source if (source.folder / "config.json").is_file() else source.base
    config = transformers.AutoConfig.from_pretrained(home.folder)
    labels = _labels_of_head(source.folder)
    if labels is not None and labels != config.num_labels:
        config.num_labels = labels
    model, _ = _from_pretrained(source.base, task, config=config)
    with _explained(
        f"The adapter {source.name!r} does not fit its base {source.base.name!r}",
        hint="Name the base that it was trained over with --base-model.",
    ):
        return peft.PeftModel.from_pretrained(model, source.folder).merge_and_unload()


def _from_pretrained(source: Source, task: Task, **options: Any) -> tuple[Any, list[str]]:
    """Return the model, and the weights of its head that the checkpoint lacks."""
    import transformers

    model_class = getattr(transformers, task.auto_class)
    with _explained(
        f"{source.name!r} cannot be loaded for {task.name}",
        hint=f"Check that transformers.{task.auto_class} loads it, and that --task is one that its architecture has.",
    ):
        model, info = model_class.from_pretrained(
            source.folder,
            use_safetensors=not source.allow_pickle,
            output_loading_info=True,
            dtype="float32",
            **options,
        )
    # AutoModel leaves the pooler to be trained; the hidden states do not pass through it.
    return model, sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))


def _labels_of_head(adapter: Path) -> int | None:
    """Return how many labels the head has that an adapter brings, or None if it brings none."""
    from safetensors import safe_open

    path = adapter / "adapter_model.safetensors"
    if not path.is_file():
        return None
    with safe_open(path, framework="numpy") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a mapping
            if name.endswith(("classifier.weight", "classifier.out_proj.weight", "score.weight")):
                return int(weights.get_slice(name).get_shape()[0])
    return None


def _locate(name: str, revision: str | None, *, allow_pickle: bool) -> tuple[Path, str | None]:
    """Return the folder of a checkpoint, and its commit if it is from the Hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, None
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ExportError(
            f"There is no folder {name!r}.", hint="Give the folder of a checkpoint, or a name on the Hub: user/model."
        )
    patterns = [*_WEIGHTS, *_OTHER_FILES, *(_PICKLED_WEIGHTS if allow_pickle else ())]
    try:
        snapshot = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except hub_errors.HFValidationError as error:
        raise ExportError(
            f"{name!r} is neither a folder nor a name on the Hub.", hint="Give a folder, or user/model."
        ) from error
    except hub_errors.LocalEntryNotFoundError as error:
        raise ExportError(
            f"{name!r} is not a folder here, not in the cache {huggingface_hub.constants.HF_HUB_CACHE}, and the Hub "
            f"{huggingface_hub.constants.ENDPOINT} cannot be reached.",
            hint=f"Give the folder of a checkpoint instead: torchless export PATH/TO/{name.rpartition('/')[2]}",
        ) from error
    except hub_errors.GatedRepoError as error:
        raise ExportError(
            f"{name!r} is gated on the Hub.", hint="Accept its terms there, then give a token: HF_TOKEN=… torchless …"
        ) from error
    except (hub_errors.RepositoryNotFoundError, hub_errors.RevisionNotFoundError) as error:
        at = f" at revision {revision!r}" if revision else ""
        raise ExportError(
            f"The Hub {huggingface_hub.constants.ENDPOINT} has no {name!r}{at}, and there is no such folder here.",
            hint="Check the spelling; for a private repository, give a token: HF_TOKEN=… torchless …",
        ) from error
    return snapshot, snapshot.name


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _explained(problem: str, *, hint: str) -> Iterator[None]:
    """Turn whatever a library raises (each architecture and format has its own errors) into one of ours."""
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(f"{problem}: {reason}", hint=hint) from error
