"""What to export: a folder, a name on the Hub, or an adapter over a base. It is found without PyTorch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchless.errors import ExportError
from torchless.folder.foreign_checkpoints import hint_without_config
from torchless.folder.hub import is_path, snapshot
from torchless.folder.json_files import check_file, is_file, read_json
from torchless.folder.layout import POOLING_CONFIG, SENTENCE_FILES
from torchless.folder.schemas import check_values, schema_of
from torchless.tasks import Task, find_task, task_of_architectures
from torchless_export.hashes import sha256_of

__all__ = ["ReadOptions", "Source", "find_source"]

_ADAPTER_CONFIG = "adapter_config.json"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_model.bin")
_OTHER_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja")
_CODE = ("*.py",)

# PEFT's names for what an adapter was trained for.
_ADAPTER_TASKS = {
    "CAUSAL_LM": "text-generation",
    "FEATURE_EXTRACTION": "feature-extraction",
    "QUESTION_ANS": "question-answering",
    "SEQ_CLS": "text-classification",
    "TOKEN_CLS": "token-classification",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a checkpoint is read.

    Attributes:
        revision: A branch, tag or commit on the Hub.
        base_model: For an adapter, the folder or name of its base; by default the one that the adapter names.
        allow_pickle: Weights may be read from pickle files, which can run code.
        allow_random_head: A head that the checkpoint has no weights for is accepted.
        allow_unknown_config: A checkpoint of a newer major version of transformers may have configuration keys that the
            one that reads it does not know.
        trust_remote_code: Code that the checkpoint brings may run.
    """

    revision: str | None = None
    base_model: str | None = None
    allow_pickle: bool = False
    allow_random_head: bool = False
    allow_unknown_config: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint that was found.

    Attributes:
        name: The name that the user gave.
        folder: The folder of its files.
        commit: The commit, if it came from the Hub.
        base: For an adapter, the checkpoint that it changes.
        options: How it is read.
    """

    name: str
    folder: Path
    commit: str | None = None
    base: "Source | None" = None
    options: ReadOptions = ReadOptions()

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
        if not found and self.options.allow_pickle:
            found = [path for pattern in (f"{pickled}.bin", f"{pickled}-*.bin") for path in self.folder.glob(pattern)]
        return sorted(filter(is_file, found))

    def code(self) -> list[str]:
        """Return the files of code that the checkpoint names; one of another repository as user/repository/file."""
        return sorted(
            {
                f"{value.rpartition('.')[0].replace('--', '/')}.py"
                for file in ("config.json", "tokenizer_config.json")
                if (self.folder / file).is_file()
                for value in _strings([read_json(self.folder / file).get("auto_map")])
            }
        )

    def task(self) -> Task:
        """Return the task that the checkpoint was trained for.

        Raises:
            ExportError: It does not say, or says one that cannot be exported.
        """
        if self.base is not None:
            kind = read_json(self.folder / _ADAPTER_CONFIG).get("task_type")
            if isinstance(kind, str) and kind in _ADAPTER_TASKS:
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
        paths = (path for path in sorted(self._files()) if path.is_file())
        files = {path.relative_to(self.folder).as_posix(): sha256_of(path) for path in paths}
        record: dict[str, Any] = {"name": self.name, "files": files}
        if self.commit is not None:
            record["revision"] = self.commit
        if self.base is not None:
            record["base"] = self.base.record()
        return record

    def _files(self) -> Iterator[Path]:
        weights = (*_WEIGHTS, *_PICKLED_WEIGHTS) if self.options.allow_pickle else _WEIGHTS
        code = _CODE if self.options.trust_remote_code else ()
        return (
            path for pattern in {*weights, *_OTHER_FILES, POOLING_CONFIG, *code} for path in self.folder.glob(pattern)
        )


def find_source(name: str, options: ReadOptions = ReadOptions()) -> Source:
    """Find a checkpoint's files: in a folder, in the Hub's cache, or on the Hub.

    Args:
        name: A folder, or a name on the Hub.
        options: How the checkpoint is read.

    Raises:
        ExportError: Nothing was found, or it is not a checkpoint.
        CheckpointError: A file cannot be read, or its values are not possible.
    """
    return _find_source(name, options, above=())


def _find_source(name: str, options: ReadOptions, *, above: tuple[Path, ...]) -> Source:
    """Find a checkpoint's files.

    Args:
        name: A folder, or a name on the Hub.
        options: How the checkpoint is read.
        above: The folders of the adapters over it.
    """
    folder, commit = _locate(name, options)
    _check_files(folder)
    base = None
    if (folder / _ADAPTER_CONFIG).is_file():
        base_name = options.base_model or read_json(folder / _ADAPTER_CONFIG).get("base_model_name_or_path")
        if not isinstance(base_name, str) or not base_name:
            raise ExportError(
                f"The adapter {name!r} does not say what it was trained over.", hint="Say it with --base-model."
            )
        above = (*above, folder.resolve())
        if _locate(base_name, replace(options, revision=None))[0].resolve() in above:
            raise ExportError(
                f"The adapter {name!r} was trained over {base_name!r}, which is an adapter over it.",
                hint="Name the base that it was trained over with --base-model.",
            )
        base = _find_source(base_name, replace(options, revision=None, base_model=None), above=above)
    elif options.base_model is not None:
        raise ExportError(
            f"{name!r} is not an adapter: it has no {_ADAPTER_CONFIG}.",
            hint="Leave --base-model out, or name an adapter.",
        )
    elif not (folder / "config.json").is_file():
        raise ExportError(
            f"{name!r} is not a checkpoint: {folder} has no config.json.",
            hint=hint_without_config(
                lambda file: (folder / file).is_file(),
                otherwise="Give a folder that save_pretrained wrote, or a name on the Hub.",
            ),
        )
    source = Source(name=name, folder=folder, commit=commit, base=base, options=options)
    if not source.weights():
        pickled = sorted(path.name for pattern in _PICKLED_WEIGHTS for path in folder.glob(pattern))
        raise ExportError(
            f"{name!r} has no safetensors weights{f', only {pickled[0]}' if pickled else ''}.",
            hint="If you trust its author, add --allow-pickle: reading a pickle can run any code."
            if (pickled or commit) and not options.allow_pickle
            else "Save the model again with save_pretrained.",
        )
    return source


def _check_files(folder: Path) -> None:
    """Raise if a file of a checkpoint cannot be read, or has a value that is not possible.

    Raises:
        CheckpointError: It is so.
    """
    for path in (path for pattern in (*_WEIGHTS, *_PICKLED_WEIGHTS, *_OTHER_FILES) for path in folder.glob(pattern)):
        if not path.is_dir():
            check_file(path)
    config = folder / "config.json"
    if config.is_file():
        check_values(config, read_json(config), schema_of("config.json"))


def _locate(name: str, options: ReadOptions) -> tuple[Path, str | None]:
    """Return the folder of a checkpoint, and its commit if it is from the Hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, None
    if is_path(name):
        raise ExportError(
            f"There is no folder {name!r}.", hint="Give the folder of a checkpoint, or a name on the Hub: user/model."
        )
    patterns = [*_WEIGHTS, *_OTHER_FILES, *_CODE, *(_PICKLED_WEIGHTS if options.allow_pickle else ())]
    found = snapshot(name, revision=options.revision, patterns=patterns, error=ExportError)
    return found, found.name


def _strings(values: Iterable[Any]) -> Iterator[str]:
    """Yield the strings among values that may be lists or objects: a tokenizer has two classes, of which one can be null."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            yield from _strings(value.values() if isinstance(value, dict) else value)
