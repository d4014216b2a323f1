"""An exported folder, or one of the Hub's cache: configuration, manifest, graphs, and what can be checked at once."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from torchless.errors import CheckpointError
from torchless.folder.config import ModelConfig
from torchless.folder.foreign_checkpoints import hint_without_config
from torchless.folder.json_files import check_file, is_file, read_json, read_json_list
from torchless.folder.layout import (
    CHAT_TEMPLATES,
    DTYPE_SUFFIXES,
    MANIFEST_NAME,
    SETTINGS,
    check_graph_choice,
    data_files,
    find_graphs,
    is_library,
    missing_graph,
)
from torchless.folder.manifest import Manifest, Variant
from torchless.folder.onnx_file import external_files, opened
from torchless.folder.schemas import check_values, schema_of
from torchless.tasks import Task, find_task, task_of_architectures

__all__ = ["ModelFolder"]

# DynamicQuantizeLinear, DynamicQuantizeMatMul, DynamicQuantizeLSTM: an ONNX file holds the names of operators as text.
_SCALES_A_BATCH = b"DynamicQuantize"
_READ_LATER = ("tokenizer.json", MANIFEST_NAME)


class ModelFolder:
    """An exported folder, opened. It holds data alone: native code is neither loaded nor accepted.

    The settings are read and checked once, when the folder is opened: what happens to the folder later does not change them.

    Args:
        path: The folder that `torchless export` (or optimum, or transformers.js's converter) wrote.
        hub_name: The name of the Hub's repository that the folder is a snapshot of.

    Attributes:
        path: The folder.
        hub_name: The name of the Hub's repository, or None.
        config: The model's configuration.
        manifest: The manifest, or None where the folder has none.
        export_command: The command that exports the folder, for hints.

    Raises:
        CheckpointError: It is missing or empty, holds native code, or a file of settings cannot be read or has a value that
            is not possible.
    """

    def __init__(self, path: str | PathLike[str], *, hub_name: str | None = None) -> None:
        self.path = Path(path)
        self.hub_name = hub_name
        self._title = f"The repository {hub_name!r}" if hub_name else f"The folder {str(path)!r}"
        checkpoint = hub_name or (str(path) if self._holds_weights() else None)
        self.export_command = f"torchless export {checkpoint} OUT" if checkpoint else f"torchless export MODEL {path}"
        if not self.path.is_dir():
            raise CheckpointError(
                f"There is no folder {str(path)!r}.",
                hint=f"Give the folder that an export wrote, or make it: {self.export_command}",
            )
        try:
            names = [path.name for path in self.path.iterdir()]
        except OSError as error:
            raise CheckpointError(
                f"{self._title} cannot be read: {error.strerror}.", hint="Check that this user may read it."
            ) from error
        if not names:
            raise CheckpointError(f"{self._title} is empty.", hint=f"Export into it: {self.export_command}")
        for library in (
            path for home in ("", "onnx") for path in (self.path / home).glob("*") if is_library(path.name)
        ):
            raise CheckpointError(
                f"{self._title} holds native code, {library}.",
                hint="Only data is loaded from a folder; remove the file if the graphs do without it.",
            )
        self._values = self._read_settings()
        values = {} if self._holds_tokenizer_alone() else self.read_json("config.json")
        self.manifest = Manifest.read(self.path)
        self.config = ModelConfig(values, max_tokens=None if self.manifest is None else self.manifest.max_tokens)

    @property
    def location(self) -> tuple[str, str | None]:
        """What opens this folder again, from anywhere: its path, or its name and commit on the Hub."""
        return (str(self.path.resolve()), None) if self.hub_name is None else (self.hub_name, self.path.name)

    def _holds_weights(self) -> bool:
        """Whether PyTorch can load a checkpoint from this folder."""
        return any(next(self.path.glob(pattern), None) for pattern in ("*.safetensors", "*.bin"))

    def _holds_tokenizer_alone(self) -> bool:
        """Whether this is what `save_pretrained` of a tokenizer writes: it has no configuration of a model."""
        if self.has("config.json") or not self.has("tokenizer.json"):
            return False
        return next(self.path.glob("**/*.onnx"), None) is None

    def _read_settings(self) -> Mapping[str, Any]:
        """Return the values of each file of settings that is there, by its name."""
        values: dict[str, Any] = {}
        for name in SETTINGS:
            path = self.path / name
            check_file(path)
            if not is_file(path) or not name.endswith(".json") or name in _READ_LATER:
                continue
            if name == "modules.json":
                values[name] = read_json_list(path)
                continue
            values[name] = read_json(path)
            check_values(path, values[name], schema_of(name))
        return values

    def has(self, name: str) -> bool:
        """Whether the folder holds a file."""
        return name in self._values or is_file(self.path / name)

    @property
    def missing_files(self) -> list[str]:
        """The files that the manifest lists and the folder does not hold; of a repository, those that are downloaded."""
        listed = self.manifest.files if self.manifest else {}
        return sorted(name for name in listed if not self.has(name) and (not self.hub_name or _is_setting(name)))

    def check_settings(self) -> None:
        """Raise if a file of settings is missing that the manifest lists: answers would differ.

        Raises:
            CheckpointError: One is.
        """
        missing = [name for name in self.missing_files if _is_setting(name)]
        if missing:
            raise CheckpointError(
                f"{self._title} has no {missing[0]}, and its manifest lists it.",
                hint=f"Copy the folder again, or export it again: {self.export_command}",
            )

    def file(self, name: str) -> Path:
        """Return the path of a file that must be there.

        Raises:
            CheckpointError: It is not.
        """
        if not self.has(name):
            hint = f"Export the checkpoint again: {self.export_command}"
            if name == "config.json":
                hint = hint_without_config(self.has, otherwise=hint)
            raise CheckpointError(f"{self._title} has no {name}.", hint=hint)
        return self.path / name

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object of a file of settings that must be there.

        Raises:
            CheckpointError: It is missing.
        """
        return dict(self._values[name]) if name in self._values else read_json(self.file(name))

    def read_optional_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object of a file of settings, or an empty one if the file is missing."""
        return dict(self._values.get(name, {}))

    def read_json_list(self, name: str) -> list[dict[str, Any]]:
        """Return the JSON array of objects of a file of settings; an empty one if the file is missing."""
        return list(self._values.get(name, ()))

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
            dtype: A key of `torchless.folder.layout.DTYPE_SUFFIXES`.
            file_name: A graph's own name, instead of a dtype: relative to the folder, or else to its `onnx/`.

        Raises:
            OptionError: There is no such dtype, or the name leads out of the folder.
            CheckpointError: The folder has no such graph, has an encoder and a decoder, or the file is not as long as the
                manifest says.
        """
        graphs = self.graphs(dtype, file_name=file_name)
        if len(graphs) > 1:
            raise CheckpointError(
                f"{self._title} holds an encoder-decoder, which has two graphs.",
                hint="Load it with AutoModelForSeq2SeqLM.",
            )
        return graphs[0]

    def encoder_and_decoder(self, dtype: str) -> tuple[Path, Path]:
        """Return the ONNX files of an encoder-decoder, once they are known to be there and whole.

        Args:
            dtype: A key of `torchless.folder.layout.DTYPE_SUFFIXES`.

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
            dtype: A key of `torchless.folder.layout.DTYPE_SUFFIXES`.
            file_name: A graph's own name, instead of a dtype: relative to the folder, or else to its `onnx/`.

        Raises:
            OptionError: There is no such dtype, or the name leads out of the folder.
            CheckpointError: The folder has no such graphs, a file is not as long as the manifest says, or a file that a
                graph names for its weights is missing, native code or outside of the folder.
        """
        check_graph_choice(dtype, file_name)
        self.check_settings()
        names = find_graphs(self.has, dtype, file_name)
        if not names:
            graphs = list(self.path.glob("**/*.onnx"))
            for path in graphs:
                check_file(path)
            files = (path.relative_to(self.path).as_posix() for path in graphs)
            raise missing_graph(
                self._title, files, dtype, file_name, otherwise=f"export the checkpoint: {self.export_command}"
            )
        variant = self.variant_of(names[0])
        for part in variant.parts if variant else ():
            path = self.file(part.file)
            damage = part.damage(self.path)
            if damage:
                raise CheckpointError(
                    f"{path} {damage}.",
                    hint=f"Copy the folder again, or export it again: {self.export_command}",
                )
        for name in names:
            check_file(self.path / name)
            for data in self.data_files(name):
                check_file(self.path / data)
                if not self.has(data):
                    raise CheckpointError(
                        f"{self._title} has no {data}, which holds weights of {name}.",
                        hint=f"Copy that file too, under this name, or export the checkpoint: {self.export_command}",
                    )
        return tuple(self.path / name for name in names)

    def data_files(self, graph: str) -> list[str]:
        """Return the files that hold weights of a graph, as the graph names them; none if it holds all itself.

        Args:
            graph: The graph's path in the folder.

        Returns:
            Their paths in the folder; the files may be missing.

        Raises:
            CheckpointError: A file is outside of the graph's folder, or is native code.
        """
        try:
            locations = external_files(self.path / graph)
        except ValueError:  # damaged: ONNX Runtime says how
            return []
        return data_files(self._title, graph, locations)

    def variant_of(self, name: str) -> Variant | None:
        """Return what the manifest says of a graph's file; None where it says nothing."""
        variants = self.manifest.variants.values() if self.manifest else ()
        return next((variant for variant in variants if any(part.file == name for part in variant.graphs)), None)

    def batch_dependent(self, graph: Path, *, holds: Callable[[bytes], bool] | None = None) -> bool | None:
        """Whether an answer of a graph depends on the rows that share its batch; None where only a run can show it.

        The manifest says. Where it does not, the graph is searched for operators that choose one scale for all rows:
        the folders of optimum and transformers.js hold such graphs. 90 MB take 25 ms.

        Args:
            graph: An ONNX file of the folder.
            holds: Tells whether the graph holds some bytes; by default, the file is searched.
        """
        variant = self.variant_of(graph.relative_to(self.path).as_posix())
        holds = holds or partial(_holds, graph)
        return variant.batch_dependent if variant else holds(_SCALES_A_BATCH) or None


def _is_setting(name: str) -> bool:
    """Return whether the runtime reads a file, by its path in the folder."""
    return name in SETTINGS or name.startswith(f"{CHAT_TEMPLATES}/")


def _holds(path: Path, name: bytes) -> bool:
    if not path.stat().st_size:  # which cannot be mapped
        return False
    with opened(path) as content:
        return content.find(name) >= 0
