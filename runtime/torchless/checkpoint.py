"""An exported folder, or one of the Hub's cache: configuration, manifest, graphs, and what can be checked at once."""

import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Self

from torchless.errors import CheckpointError
from torchless.layout import (
    DTYPE_SUFFIXES,
    MANIFEST_NAME,
    check_graph_choice,
    find_graphs,
    is_library,
    leads_outside,
    missing_graph,
)
from torchless.tasks import Task, find_task, task_of_architectures

__all__ = ["Checkpoint", "Config", "Manifest", "Part", "Variant", "Verification"]

SCHEMA_VERSION = 2
_ONE_GRAPH_SCHEMA_VERSION = 1  # a variant was one graph

# DynamicQuantizeLinear, DynamicQuantizeMatMul, DynamicQuantizeLSTM: an ONNX file holds the names of operators as text.
_SCALES_A_BATCH = b"DynamicQuantize"

_COPY_AGAIN = "Copy the folder again, or export the checkpoint again."

# Families whose position embeddings are a table: a text longer than the table has no answer.
# Those of the second set count positions from the padding id, which costs them that many rows and one more.
_COUNTED_FROM_ZERO = frozenset({
    "albert", "bart", "bert", "big_bird", "blenderbot", "blenderbot-small", "convbert", "data2vec-text", "deberta",
    "deberta-v2", "distilbert", "electra", "ernie", "gpt2", "gpt_bigcode", "gpt_neo", "marian", "mbart", "mobilebert",
    "nystromformer", "opt", "pegasus", "roformer", "squeezebert",
})  # fmt: skip
_COUNTED_FROM_PADDING = frozenset({
    "camembert", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
    "xmod",
})  # fmt: skip


class Config:
    """The model's `config.json`, its keys as attributes, with the defaults that `transformers` gives to labels.

    Attributes:
        id2label: What each logit stands for.
        label2id: The inverse of `id2label`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        labels = values.get("id2label") or {index: f"LABEL_{index}" for index in range(values.get("num_labels", 2))}
        self.id2label: dict[int, str] = {int(index): label for index, label in labels.items()}
        self.label2id: dict[str, int] = values.get("label2id") or {
            label: index for index, label in self.id2label.items()
        }

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return len(self.id2label)

    @property
    def width(self) -> int:
        """The length of a token's hidden state; 0 where the configuration does not say."""
        return int(self.get("hidden_size") or self.get("dim") or self.get("d_model") or 0)

    @cached_property
    def max_tokens(self) -> int | None:
        """The longest input in tokens, special ones included, or None where positions have no end."""
        model_type, positions = self.get("model_type"), self.get("max_position_embeddings", self.get("n_positions"))
        if not isinstance(positions, int) or not self.get("position_biased_input", True):
            return None
        if model_type in _COUNTED_FROM_ZERO:
            return positions
        if model_type in _COUNTED_FROM_PADDING:
            padding_id = self.get("pad_token_id")
            return positions - (1 if padding_id is None else int(padding_id)) - 1
        return None

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value of `config.json`, or a default."""
        return self._values.get(name, default)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}") from None

    def __repr__(self) -> str:
        return f"Config({self._values!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a variant's answers are against PyTorch's, measured when it was exported.

    Attributes:
        texts: How many texts were compared.
        agreement: The share of them with the same final answer, 0 to 1.
        max_abs_diff: The largest difference of any output value; for hidden states, relative to their scale.
        mean_abs_diff: The mean of the same.
        ms_per_text: The median time of one text through this variant, alone, in milliseconds.
        reference_ms_per_text: The same through PyTorch.
    """

    texts: int
    agreement: float
    max_abs_diff: float
    mean_abs_diff: float
    ms_per_text: float
    reference_ms_per_text: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a folder, and how to tell that it is whole."""

    file: str
    size_bytes: int
    sha256: str

    def damage(self, folder: Path) -> str | None:
        """Return what is wrong with the file in a folder, as its size tells; None if nothing is."""
        path = folder / self.file
        if not path.is_file():
            return "is missing"
        size_bytes = path.stat().st_size
        if size_bytes == self.size_bytes:
            return None
        return f"is damaged: {size_bytes} bytes, and the manifest says {self.size_bytes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What answers in one dtype: a graph, or the two of an encoder-decoder.

    Attributes:
        parts: Its files: the graphs, the encoder's first, and each one's weights where they are not in its own file.
        scheme: What the variant is, in words.
        batch_dependent: Whether an answer depends on the rows that share its batch.
        verification: How it compared with PyTorch.
    """

    parts: tuple[Part, ...]
    scheme: str = ""
    batch_dependent: bool = False
    verification: Verification | None = None

    @property
    def graphs(self) -> tuple[Part, ...]:
        """The files of its graphs."""
        return tuple(part for part in self.parts if part.file.endswith(".onnx"))

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(part.size_bytes for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`torchless.json`: what a folder holds, where it came from, and how it was verified.

    Attributes:
        task: A name of `torchless.tasks`.
        source: Where the checkpoint came from: `name`, `revision` where there is one, and `files` with their SHA-256.
        versions: The packages that made it.
        variants: What answers, by dtype.
        files: The SHA-256 of every other file of the folder, by its path.
        schema_version: The version of this schema.
    """

    task: str
    source: Mapping[str, Any]
    versions: Mapping[str, str]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file of every variant."""
        return tuple(part for variant in self.variants.values() for part in variant.parts)

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder."""
        (folder / MANIFEST_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the manifest of a folder; None where it has none.

        Raises:
            CheckpointError: It is not a manifest of a version that this library reads.
        """
        path = folder / MANIFEST_NAME
        if not path.is_file():
            return None
        values = read_json(path)
        version = values.pop("schema_version", None)
        if version not in {_ONE_GRAPH_SCHEMA_VERSION, SCHEMA_VERSION}:
            raise CheckpointError(
                f"{path} has schema version {version!r}; this library reads up to version {SCHEMA_VERSION}.",
                hint="Update torchless, or export the checkpoint again with `torchless export`.",
            )
        try:
            variants = {dtype: _variant(variant) for dtype, variant in values["variants"].items()}
            files = {name: str(digest) for name, digest in values.get("files", {}).items()}
            manifest = cls(**{**values, "variants": variants, "files": files})
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} is not a manifest: {error}.",
                hint="Export the checkpoint again with `torchless export`.",
            ) from error
        for name in (*(part.file for part in manifest.parts), *manifest.files):
            if leads_outside(name):
                raise CheckpointError(
                    f"{path} names a file outside of its folder: {name!r}.",
                    hint="Do not use a folder that you cannot trust; export the checkpoint again.",
                )
        return manifest


class Checkpoint:
    """An exported folder, opened. It holds data alone: native code is neither loaded nor accepted.

    Args:
        folder: The folder that `torchless export` (or optimum, or transformers.js's converter) wrote.
        hub_name: The name of the Hub's repository that the folder is a snapshot of.

    Raises:
        CheckpointError: It is missing or empty, holds native code, or its configuration or manifest cannot be read.
    """

    def __init__(self, folder: str | PathLike[str], *, hub_name: str | None = None) -> None:
        self.folder = Path(folder)
        self.hub_name = hub_name
        self._title = f"The repository {hub_name!r}" if hub_name else f"The folder {str(folder)!r}"
        self._export = f"torchless export {hub_name} OUT" if hub_name else f"torchless export MODEL {folder}"
        if not self.folder.is_dir():
            raise CheckpointError(
                f"There is no folder {str(folder)!r}.",
                hint=f"Give the folder that an export wrote, or make it: {self._export}",
            )
        if not any(self.folder.iterdir()):
            raise CheckpointError(f"{self._title} is empty.", hint=f"Export into it: {self._export}")
        for library in (
            path for home in ("", "onnx") for path in (self.folder / home).glob("*") if is_library(path.name)
        ):
            raise CheckpointError(
                f"{self._title} holds native code, {library}.",
                hint="Only data is loaded from a folder; remove the file if the graphs do without it.",
            )
        self.config = Config(self.read_json("config.json"))
        self.manifest = Manifest.read(self.folder)

    def has(self, name: str) -> bool:
        """Whether the folder holds a file."""
        return (self.folder / name).is_file()

    def file(self, name: str) -> Path:
        """Return the path of a file that must be there.

        Raises:
            CheckpointError: It is not.
        """
        if not self.has(name):
            raise CheckpointError(f"{self._title} has no {name}.", hint=f"Export the checkpoint again: {self._export}")
        return self.folder / name

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in a file that must be there.

        Raises:
            CheckpointError: It is missing, or holds something else.
        """
        return read_json(self.file(name))

    def read_json_list(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON array of objects in a file that must be there.

        Raises:
            CheckpointError: It is missing, or holds something else.
        """
        values = _parsed(self.file(name))
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise CheckpointError(f"{self.folder / name} is not a JSON array of objects.", hint=_COPY_AGAIN)
        return values

    def task(self) -> Task:
        """Return the task that the folder was exported for: the manifest says, or else the model's architecture."""
        if self.manifest is not None:
            return find_task(self.manifest.task)
        return task_of_architectures(self.config.get("architectures") or ()) or find_task("feature-extraction")

    def dtypes(self) -> Iterator[str]:
        """Yield the dtypes whose graphs are there."""
        return (dtype for dtype in DTYPE_SUFFIXES if find_graphs(self.has, dtype))

    def graph(self, dtype: str, *, file_name: str | None = None) -> Path:
        """Return the ONNX file of a dtype, once it is known to be there and whole.

        Args:
            dtype: A key of `torchless.layout.DTYPE_SUFFIXES`.
            file_name: A graph's own name, instead of a dtype: relative to the folder, or else to its `onnx/`.

        Raises:
            OptionError: There is no such dtype, or the name leads out of the folder.
            CheckpointError: The folder has no such graph, has an encoder and a decoder, or the file is not as long as the
                manifest says.
        """
        graphs = self.graphs(dtype, file_name=file_name)
        if len(graphs) > 1:
            raise CheckpointError(
                f"{self._title} holds an encoder-decoder, which is no model of one graph.",
                hint="Load it with AutoModelForSeq2SeqLM.",
            )
        return graphs[0]

    def encoder_and_decoder(self, dtype: str) -> tuple[Path, Path]:
        """Return the ONNX files of an encoder-decoder, once they are known to be there and whole.

        Args:
            dtype: A key of `torchless.layout.DTYPE_SUFFIXES`.

        Raises:
            OptionError: There is no such dtype.
            CheckpointError: The folder has no such graphs, has only one, or a file is not as long as the manifest says.
        """
        graphs = self.graphs(dtype)
        if len(graphs) == 1:
            raise CheckpointError(
                f"{self._title} holds one graph, and an encoder-decoder has two.",
                hint=f"Load it with {self.task().auto_class}.",
            )
        return graphs[0], graphs[1]

    def graphs(self, dtype: str, *, file_name: str | None = None) -> tuple[Path, ...]:
        """Return the ONNX files of a dtype, one or an encoder's and its decoder's, once they are known to be there and whole.

        Args:
            dtype: A key of `torchless.layout.DTYPE_SUFFIXES`.
            file_name: A graph's own name, instead of a dtype: relative to the folder, or else to its `onnx/`.

        Raises:
            OptionError: There is no such dtype, or the name leads out of the folder.
            CheckpointError: The folder has no such graphs, or a file is not as long as the manifest says.
        """
        check_graph_choice(dtype, file_name)
        names = find_graphs(self.has, dtype, file_name)
        if not names:
            files = (path.relative_to(self.folder).as_posix() for path in self.folder.glob("**/*.onnx"))
            raise missing_graph(
                self._title, files, dtype, file_name, otherwise=f"export the checkpoint: {self._export}"
            )
        variant = self.variant_of(names[0])
        for part in variant.parts if variant else ():
            path = self.file(part.file)
            damage = part.damage(self.folder)
            if damage:
                raise CheckpointError(
                    f"{path} {damage}.",
                    hint=f"Copy the folder again, or export it again: {self._export}",
                )
        return tuple(self.folder / name for name in names)

    def variant_of(self, name: str) -> Variant | None:
        """Return what the manifest says of a graph's file; None where it says nothing."""
        variants = self.manifest.variants.values() if self.manifest else ()
        return next((variant for variant in variants if any(part.file == name for part in variant.graphs)), None)

    def batch_dependent(self, graph: Path) -> bool:
        """Whether an answer of a graph depends on the rows that share its batch.

        The manifest says. Where it does not, the graph is searched for operators that choose one scale for all rows:
        the folders of optimum and transformers.js hold such graphs. 90 MB take 25 ms.

        Args:
            graph: An ONNX file of the folder.
        """
        variant = self.variant_of(graph.relative_to(self.folder).as_posix())
        return variant.batch_dependent if variant else _holds(graph, _SCALES_A_BATCH)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        CheckpointError: It holds something else.
    """
    values = _parsed(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a JSON object.", hint=_COPY_AGAIN)
    return values


def _holds(path: Path, name: bytes) -> bool:
    if not path.stat().st_size:  # which cannot be mapped
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(name) >= 0


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}.", hint=_COPY_AGAIN) from error


def _variant(values: Mapping[str, Any]) -> Variant:
    values = dict(values)
    if "file" in values:  # of the first schema, where a variant was its graph
        graph = {name: values.pop(name) for name in ("file", "size_bytes", "sha256")}
        data = values.pop("data", None)
        values["parts"] = [graph] if data is None else [graph, data]
    verification = values.pop("verification", None)
    return Variant(
        parts=tuple(Part(**part) for part in values.pop("parts")),
        verification=verification and Verification(**verification),
        **values,
    )
