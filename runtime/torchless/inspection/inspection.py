"""The contents and the verification of an exported folder, read from its files without loading a graph."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchless.errors import CheckpointError
from torchless.folder.json_files import is_file
from torchless.folder.layout import DTYPE_SUFFIXES, POOLING_CONFIG, find_graphs
from torchless.folder.manifest import Verification
from torchless.folder.model_folder import ModelFolder
from torchless.models.pooling import Pooling
from torchless.ort.session import Session, Tensor
from torchless.tokenization.padding import NO_LIMIT_ABOVE

__all__ = ["GraphInspection", "Inspection", "TokenizerInspection", "VariantInspection", "inspect", "inspect_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerInspection:
    """The settings in `tokenizer_config.json`.

    Attributes:
        tokenizer_class: The class in `transformers`; None if the file names no class.
        max_length: The maximum length of an input, in tokens; None without a limit.
        padding_side: `right` or `left`.
    """

    tokenizer_class: str | None
    max_length: int | None
    padding_side: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantInspection:
    """A graph of the folder, or the two graphs of an encoder-decoder.

    Attributes:
        dtype: A key of `torchless.folder.layout.DTYPE_SUFFIXES`; None if the file's name belongs to no dtype.
        files: The size of each file in bytes, by the file's path; None if the file is missing.
        scheme: The description in the manifest, or an empty string.
        batch_dependent: Whether an answer depends on the other rows of its batch.
        verification: The comparison with PyTorch; None if it was not measured.
    """

    dtype: str | None
    files: Mapping[str, int | None]
    scheme: str
    batch_dependent: bool
    verification: Verification | None

    @property
    def size_bytes(self) -> int:
        """The size of the files that exist."""
        return sum(size for size in self.files.values() if size is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInspection:
    """The declarations of a graph: the dtype and the axes of each input and output, by name."""

    file: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The contents of a folder.

    Attributes:
        folder: The path.
        hub_name: The name of the Hub's repository, if the folder is a snapshot of a repository; else None.
        verified: Whether the manifest compares a graph with PyTorch.
        task: The task of the export; without a manifest, the task of the architecture.
        model_type: The architecture, as `config.json` names it.
        architectures: The classes in `transformers`.
        labels: The label of each logit; empty if the task has no labels.
        max_tokens: The maximum number of tokens that the model's positions allow; None without a limit.
        tokenizer: The tokenizer's settings.
        embeddings: The pooling for sentence embeddings; None if the folder has no settings for it.
        source: The checkpoint in the manifest; None without a manifest.
        versions: The versions of the packages that made the folder.
        variants: The graphs.
        problems: A sentence for each part that is missing, damaged or not supported.
    """

    folder: str
    hub_name: str | None
    verified: bool
    task: str
    model_type: str | None
    architectures: tuple[str, ...]
    labels: Mapping[int, str]
    max_tokens: int | None
    tokenizer: TokenizerInspection
    embeddings: Pooling | None
    source: Mapping[str, Any] | None
    versions: Mapping[str, str]
    variants: tuple[VariantInspection, ...]
    problems: tuple[str, ...]


def inspect(folder: ModelFolder) -> Inspection:
    """Inspect a folder without loading a graph.

    Args:
        folder: The exported folder.

    Raises:
        CheckpointError: A configuration file cannot be read.
    """
    manifest, config, task = folder.manifest, folder.config, folder.task()
    embeddings, unsupported = _embeddings(folder)
    has_labels = any("labels" in axes for axes in task.outputs.values())
    variants = tuple(_variants(folder))
    return Inspection(
        folder=str(folder.path),
        hub_name=folder.hub_name,
        verified=any(variant.verification for variant in variants),
        task=task.name,
        model_type=config.get("model_type"),
        architectures=tuple(config.get("architectures") or ()),
        labels=config.id2label if has_labels else {},
        max_tokens=config.max_tokens,
        tokenizer=_tokenizer(folder),
        embeddings=embeddings,
        source=manifest.source if manifest else None,
        versions=manifest.versions if manifest else {},
        variants=variants,
        problems=(*_problems(folder), *unsupported),
    )


def inspect_graph(graph: Path) -> GraphInspection:
    """Load a graph, and return its declarations.

    Args:
        graph: An ONNX file.

    Raises:
        CheckpointError: The graph cannot be loaded.
    """
    session = Session(graph)
    return GraphInspection(
        file=str(graph),
        inputs={name: _declared(tensor) for name, tensor in session.inputs.items()},
        outputs={name: _declared(tensor) for name, tensor in session.outputs.items()},
    )


def _declared(tensor: Tensor) -> str:
    return f"{tensor.dtype} ({', '.join(tensor.axes)})"


def _variants(folder: ModelFolder) -> Iterator[VariantInspection]:
    """Yield the variants in the manifest, even if files are missing, and then the other graphs in the folder."""
    listed = folder.manifest.variants if folder.manifest else {}
    for dtype, variant in listed.items():
        yield VariantInspection(
            dtype=dtype,
            files={part.file: _size(folder.path / part.file) for part in variant.parts},
            scheme=variant.scheme,
            batch_dependent=variant.batch_dependent,
            verification=variant.verification,
        )
    graphs = {name for name in _graphs(folder) if not folder.variant_of(name)}
    with_dtype = {names: dtype for dtype in DTYPE_SUFFIXES if (names := find_graphs(graphs.__contains__, dtype))}
    without_dtype = {(name,): None for name in graphs.difference(*with_dtype)}
    for names, dtype_or_none in sorted((with_dtype | without_dtype).items()):
        files = [file for name in names for file in (name, *_data_files(folder, name))]
        yield VariantInspection(
            dtype=dtype_or_none,
            files={file: _size(folder.path / file) for file in files},
            scheme="",
            batch_dependent=any(folder.batch_dependent(folder.path / name) or False for name in names),
            verification=None,
        )


def _graphs(folder: ModelFolder) -> list[str]:
    """Return the graphs that are there, by their paths in the folder."""
    found = (path for path in folder.path.rglob("*.onnx") if is_file(path))
    return sorted(path.relative_to(folder.path).as_posix() for path in found)


def _data_files(folder: ModelFolder, graph: str) -> list[str]:
    try:
        return folder.data_files(graph)
    except CheckpointError:  # `_problems` says so
        return []


def _size(path: Path) -> int | None:
    return path.stat().st_size if is_file(path) else None


def _tokenizer(folder: ModelFolder) -> TokenizerInspection:
    settings = folder.read_optional_json("tokenizer_config.json")
    max_length = settings.get("model_max_length")
    return TokenizerInspection(
        tokenizer_class=settings.get("tokenizer_class"),
        max_length=None if max_length is None or max_length > NO_LIMIT_ABOVE else int(max_length),
        padding_side=settings.get("padding_side", "right"),
    )


def _embeddings(folder: ModelFolder) -> tuple[Pooling | None, tuple[str, ...]]:
    """Return the pooling for sentence embeddings, and a sentence for each setting that is not supported."""
    if not folder.has(POOLING_CONFIG):
        return None, ()
    try:
        return Pooling.read(folder), ()
    except CheckpointError as error:
        return None, (error.problem,)


def _problems(folder: ModelFolder) -> Iterator[str]:
    if not folder.has("tokenizer.json"):
        yield "tokenizer.json is missing."
    for name in folder.missing_files:
        if name != "tokenizer.json":
            yield f"{name} is missing, and the manifest lists it."
    graphs = _graphs(folder)
    if not graphs and not folder.hub_name:
        yield "There is no graph."
    for graph in graphs:
        try:
            missing = [name for name in folder.data_files(graph) if not folder.has(name)]
        except CheckpointError as error:
            yield error.problem
            continue
        listed = folder.variant_of(graph)
        for name in missing if not listed else ():  # of a graph that the manifest lists, what it lists is checked below
            yield f"{name} is missing, which holds weights of {graph}."
    for part in folder.manifest.parts if folder.manifest else ():
        damage = part.damage(folder.path)
        if damage and (not folder.hub_name or folder.has(part.file)):  # no graph of a repository is downloaded
            yield f"{part.file} {damage}."
