"""The files of a graph, opened once: what a session loads later is what it loaded first, whatever happens to the folder."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from weakref import finalize

import onnxruntime as ort

from torchless.errors import CheckpointError
from torchless.folder.onnx_file import external_files
from torchless.ort.mapped_graph import mapped_graph

__all__ = ["GraphFiles"]

_DESCRIPTORS = Path("/proc/self/fd")  # of Linux


class GraphFiles:
    """An ONNX file and the files that hold its weights, open.

    ONNX Runtime maps weights by a path, which costs no memory. While a path still leads to the open files, that is the way;
    after the folder was replaced, renamed or removed, the weights are read from the open files.

    Args:
        graph: An ONNX file.

    Raises:
        CheckpointError: A file cannot be opened.
    """

    def __init__(self, graph: Path) -> None:
        self._graph = graph
        try:
            weights = external_files(graph)
        except (OSError, ValueError):  # the file is damaged: ONNX Runtime raises with the reason
            weights = []
        self._descriptor = self._opened(graph)
        self._weights = {name: self._opened(graph.parent / name) for name in weights}
        self._contents: list[mmap.mmap] = []

    def _opened(self, path: Path) -> int:
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be read: {error.strerror}.", hint="Check that this user may read it, or copy it again."
            ) from error
        finalize(self, os.close, descriptor)
        return descriptor

    def path(self) -> Path | None:
        """Return a path that leads to the open files now; None if there is none."""
        return next(filter(self.is_at, self._paths()), None)

    def is_at(self, path: Path) -> bool:
        """Return whether a path leads to the open files."""
        descriptors = {path: self._descriptor, **{path.parent / name: self._weights[name] for name in self._weights}}
        try:
            return all(os.path.samestat(file.stat(), os.fstat(descriptor)) for file, descriptor in descriptors.items())
        except OSError:
            return False

    def model_at(self, path: Path, settings: ort.SessionOptions) -> str | bytes:
        """Return the model of a path, with its weights mapped from the file; the path itself if they are in other files.

        Args:
            path: As `path` returned it.
            settings: The settings of the session; where the weights are is added to them.
        """
        graph = path.resolve()
        # In the Hub's cache, links point to files with other names: ONNX Runtime looks for weights beside the link.
        if path.is_symlink() and self._weights:
            return str(path)
        try:
            model = mapped_graph(graph)
        except ValueError:  # the file is damaged: ONNX Runtime raises with the reason
            return str(path)
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", str(graph.parent))
        return model

    def model_in_memory(self, settings: ort.SessionOptions) -> bytes:
        """Return the model of the open files; its weights are copied into memory.

        Args:
            settings: The settings of the session; weights of other files are added to them.

        Raises:
            CheckpointError: This version of ONNX Runtime cannot take the weights from memory.
        """
        if self._weights:
            add = getattr(settings, "add_external_initializers_from_files_in_memory", None)
            if add is None:
                raise CheckpointError(
                    f"{self._graph} is not the file any more that was loaded.",
                    hint="Load the folder again. With a newer onnxruntime, a model outlives its files.",
                )
            # ONNX Runtime reads them once the session is made, so they stay with this object.
            self._contents = [_mapped(descriptor) for descriptor in self._weights.values()]
            add(list(self._weights), self._contents, [len(content) for content in self._contents])
        return bytes(_mapped(self._descriptor))

    def holds(self, name: bytes) -> bool:
        """Return whether the open graph holds some bytes, such as the name of an operator. 90 MB take 25 ms."""
        if not os.fstat(self._descriptor).st_size:  # which cannot be mapped
            return False
        with _mapped(self._descriptor) as content:
            return content.find(name) >= 0

    def _paths(self) -> Iterator[Path]:
        yield self._graph
        try:
            yield (_DESCRIPTORS / str(self._descriptor)).readlink()  # where a renamed file is
        except OSError:
            return


def _mapped(descriptor: int) -> mmap.mmap:
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
