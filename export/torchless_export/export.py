"""The whole way from a checkpoint to an exported folder: find, load, convert, verify, publish."""

import hashlib
import platform
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from torchless.checkpoint import Checkpoint, Manifest, Variant
from torchless.errors import CheckpointError, OptionError, nearest
from torchless.layout import DTYPE_SUFFIXES
from torchless.tasks import find_task
from torchless_export.hashes import other_files
from torchless_export.preflight import preflight
from torchless_export.sample import sample_texts
from torchless_export.source import find_source, load
from torchless_export.staging import check_destination, staged
from torchless_export.verify import Track, reference_answers, verify

__all__ = ["Progress", "export"]

DTYPES = ("fp32",)
VERIFICATION_TEXTS = 250
_MAKERS = ("torchless", "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxruntime")


class Progress(Protocol):
    """Where an export says what it is doing."""

    @property
    def step(self) -> Callable[[str], AbstractContextManager[None]]:
        """Announces a step, and its end."""

    @property
    def track(self) -> Track:
        """Wraps a loop over texts, to show how far it is."""


def export(
    model: str,
    out: Path,
    progress: Progress,
    *,
    task: str | None = None,
    dtypes: tuple[str, ...] = ("fp32",),
    base_model: str | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
    allow_random_head: bool = False,
    trust_remote_code: bool = False,
    force: bool = False,
) -> tuple[Manifest, bool]:
    """Export a checkpoint, unless the folder holds this very export already.

    Args:
        model: A folder, a name on the Hub, or an adapter.
        out: The folder to write; an earlier export there is replaced.
        progress: Where to say what is done.
        task: What to export it for; by default what it was trained for.
        dtypes: The variants to write.
        base_model: For an adapter, its base.
        revision: A branch, tag or commit on the Hub.
        allow_pickle: Weights may be read from pickle files.
        allow_random_head: Accept a head without weights.
        trust_remote_code: Run code that the checkpoint brings.
        force: Export again even if nothing changed.

    Returns:
        The manifest of the folder, and whether it was written anew.

    Raises:
        ExportError: The checkpoint cannot be found, loaded or converted, or its answers differ from PyTorch's.
        OptionError: There is no such dtype.
        TaskError: There is no such task.

    Warns:
        ExportWarning: Pickles are read, code is run, or weights are random, because that was allowed.
    """
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise OptionError(f"There is no export of dtype {dtype!r}.", hint=nearest(dtype, DTYPES))
    chosen = None if task is None else find_task(task)
    check_destination(out)
    with progress.step(f"Finding {model}"):
        source = find_source(
            model,
            revision=revision,
            base_model=base_model,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
        chosen = chosen or source.task()
        planned = Manifest(task=chosen.name, source=source.record(), versions=_versions())
    current = _current(out)
    if current and not force and _same(current, planned, dtypes):
        return current, False

    with progress.step("Loading PyTorch, and checking that this can be exported"):
        preflight(source, chosen, out, dtypes)
    with staged(out) as folder:
        with progress.step("Loading the checkpoint"):
            loaded = load(source, chosen, allow_random_head=allow_random_head)
        from torchless_export.convert import convert

        with progress.step("Converting to ONNX"):
            convert(loaded, chosen, folder)
            for name, path in source.sentence_files():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / name)
        texts = sample_texts(VERIFICATION_TEXTS)
        with progress.step(f"Verifying against PyTorch on {len(texts)} texts"):
            reference = reference_answers(loaded, chosen, texts, progress.track)
            variants = {dtype: _variant(folder, dtype) for dtype in dtypes}
            verified = {
                dtype: replace(variant, verification=verify(folder, chosen, dtype, reference, progress.track))
                for dtype, variant in variants.items()
            }
        manifest = replace(planned, variants=verified)
        manifest = replace(manifest, files=other_files(folder, manifest))
        manifest.write(folder)
    return manifest, True


def _variant(folder: Path, dtype: str) -> Variant:
    file = f"onnx/model{DTYPE_SUFFIXES[dtype]}.onnx"
    path = folder / file
    with path.open("rb") as graph:
        digest = hashlib.file_digest(graph, "sha256").hexdigest()
    return Variant(file=file, size_bytes=path.stat().st_size, sha256=digest)


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _MAKERS}}


def _current(out: Path) -> Manifest | None:
    """Return the manifest of an export that is there and whole."""
    try:
        checkpoint = Checkpoint(out)
        for dtype in checkpoint.manifest.variants if checkpoint.manifest else ():
            checkpoint.graph(dtype)
        checkpoint.file("tokenizer.json")
    except CheckpointError:
        return None
    return checkpoint.manifest


def _same(current: Manifest, planned: Manifest, dtypes: tuple[str, ...]) -> bool:
    return replace(current, variants={}, files={}) == replace(planned, variants={}, files={}) and set(
        current.variants
    ) == set(dtypes)
