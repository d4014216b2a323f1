"""What a folder holds and how it was verified, gathered from its files without loading a graph."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchless.errors import CheckpointError
from torchless.folder.layout import DTYPE_SUFFIXES, POOLING_CONFIG, find_graphs
from torchless.folder.manifest import Verification
from torchless.folder.model_folder import ModelFolder
from torchless.models.pooling import Pooling
from torchless.ort.session import Session, Tensor
from torchless.tokenization.padding import NO_LIMIT_ABOVE

__all__ = ["GraphInspection", "Inspection", "TokenizerInspection", "VariantInspection", "inspect", "inspect_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerInspection:
    """What `tokenizer_config.json` says.

    Attributes:
        tokenizer_class: The class in `transformers`; None where it does not say.
        max_length: The longest input in tokens; None without a limit.
        padding_side: `right` or `left`.
    """

    tokenizer_class: str | None
    max_length: int | None
    padding_side: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantInspection:
    """A graph of the folder, or the two of an encoder-decoder.

    Attributes:
        dtype: A key of `torchless.folder.layout.DTYPE_SUFFIXES`; None of a graph with a name of its own.
        files: The size of each of its files in bytes, by its path; None where it is missing.
        scheme: What it is, in words; empty where nothing says.
        batch_dependent: Whether an answer depends on the rows that share its batch.
        verification: How it compared with PyTorch; None where nobody measured.
    """

    dtype: str | None
    files: Mapping[str, int | None]
    scheme: str
    batch_dependent: bool
    verification: Verification | None

    @property
    def size_bytes(self) -> int:
        """The size of all its files that are there."""
        return sum(size for size in self.files.values() if size is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphInspection:
    """What a graph declares: the dtype and the axes of its inputs and outputs, by name."""

    file: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a folder holds.

    Attributes:
        folder: Its path.
        hub_name: The name of the Hub's repository that it is a snapshot of, or None.
        verified: Whether the manifest says of any graph how it compared with PyTorch.
        task: What it was exported for; without a manifest, what its architecture is for.
        model_type: The architecture, as `config.json` names it.
        architectures: The classes in `transformers`.
        labels: What each logit stands for; empty where the task has no labels.
        max_tokens: The longest input in tokens that the model's positions allow; None without a limit.
        tokenizer: Its settings.
        embeddings: How texts become sentence embeddings; None where the folder does not say.
        source: What the manifest says of the checkpoint; None without one.
        versions: The packages that made it.
        variants: Its graphs.
        problems: What is missing, damaged or not supported, a sentence each.
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
    """Gather what a folder says of itself.

    Args:
        folder: The folder, opened.

    Raises:
        CheckpointError: A file of its configuration cannot be read.
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
    """Load a graph, and return what it declares.

    Args:
        graph: An ONNX file.

    Raises:
        CheckpointError: It cannot be loaded.
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
    """Yield the variants that the manifest lists, there or not, and then the other graphs that are there."""
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
    named = {names: dtype for dtype in DTYPE_SUFFIXES if (names := find_graphs(graphs.__contains__, dtype))}
    own_named = {(name,): None for name in graphs.difference(*named)}
    for names, own_dtype in sorted((named | own_named).items()):
        files = [file for name in names for file in (name, *_data_files(folder, name))]
        yield VariantInspection(
            dtype=own_dtype,
            files={file: _size(folder.path / file) for file in files},
            scheme="",
            batch_dependent=any(folder.batch_dependent(folder.path / name) for name in names),
            verification=None,
        )


def _graphs(folder: ModelFolder) -> list[str]:
    """Return the graphs that are there, by their paths in the folder."""
    found = (path for path in folder.path.rglob("*.onnx") if path.is_file())
    return sorted(path.relative_to(folder.path).as_posix() for path in found)


def _data_files(folder: ModelFolder, graph: str) -> list[str]:
    try:
        return folder.data_files(graph)
    except CheckpointError:  # `_problems` says so
        return []


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _tokenizer(folder: ModelFolder) -> TokenizerInspection:
    name = "tokenizer_config.json"
    settings = folder.read_optional_json(name)
    max_length = settings.get("model_max_length")
    return TokenizerInspection(
        tokenizer_class=settings.get("tokenizer_class"),
        max_length=None if max_length is None or max_length > NO_LIMIT_ABOVE else int(max_length),
        padding_side=settings.get("padding_side", "right"),
    )


def _embeddings(folder: ModelFolder) -> tuple[Pooling | None, tuple[str, ...]]:
    """Return how the folder makes embeddings, and what of it is not supported."""
    if not folder.has(POOLING_CONFIG):
        return None, ()
    try:
        return Pooling.read(folder), ()
    except CheckpointError as error:
        return None, (error.problem,)


def _problems(folder: ModelFolder) -> Iterator[str]:
    if not folder.has("tokenizer.json"):
        yield "tokenizer.json is missing."
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
        if damage and not (folder.hub_name and not folder.has(part.file)):  # of which no graph is downloaded
            yield f"{part.file} {damage}."
