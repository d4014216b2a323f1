"""The whole way from a checkpoint to an exported folder: find, load, convert, verify, publish."""

import platform
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from torchless.errors import CheckpointError, ExportError, ExportWarning, OptionError, check_whole_number, nearest
from torchless.folder.manifest import Manifest, Variant
from torchless.folder.model_folder import ModelFolder
from torchless.tasks import Task, find_task
from torchless_export.graph.onnx_files import MAX_GRAPH_BYTES
from torchless_export.hashes import other_files
from torchless_export.preflight import preflight
from torchless_export.quantization.calibration import calibrate
from torchless_export.quantization.recording import Rows
from torchless_export.quantization.variants import VARIANTS, declare_data, is_calibrated, make_variant
from torchless_export.source.loading import load
from torchless_export.source.source import ReadOptions, find_source
from torchless_export.staging import check_destination, staged
from torchless_export.verification.answers import Track
from torchless_export.verification.samples import make_samples
from torchless_export.verification.texts import calibration_texts, digest, verification_texts
from torchless_export.verification.verify import (
    Reference,
    check,
    failure,
    least_agreement,
    measure,
    reference_answers,
)

__all__ = ["Progress", "Silent", "export"]

_MAKERS = ("torchless", "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxruntime")


class Progress(Protocol):
    """Shows the steps of an export."""

    @property
    def step(self) -> Callable[[str], AbstractContextManager[None]]:
        """Shows a step while it lasts."""

    @property
    def track(self) -> Track:
        """Wraps a loop, to show its progress."""


class Silent:
    """Shows nothing."""

    def step(self, _title: str) -> AbstractContextManager[None]:
        """Show nothing."""
        return nullcontext()

    def track(self, items: Sequence[Any], _title: str) -> Iterable[Any]:
        """Return the items as they are."""
        return items


def export(
    model: str,
    out: Path,
    progress: Progress,
    *,
    read_options: ReadOptions = ReadOptions(),
    task: str | None = None,
    dtypes: tuple[str, ...] = ("fp32",),
    verify_with: Path | None = None,
    calibrate_with: Path | None = None,
    min_agreement: float | None = None,
    max_tokens: int | None = None,
    keep_passing: bool = False,
    max_graph_bytes: int = MAX_GRAPH_BYTES,
    force: bool = False,
) -> tuple[Manifest, bool]:
    """Export a checkpoint, unless the folder holds this very export already.

    Args:
        model: A folder, a name on the Hub, or an adapter.
        out: The folder to write; an earlier export there is replaced.
        progress: Shows the steps.
        read_options: How the checkpoint is read.
        task: What to export it for; by default what it was trained for.
        dtypes: The variants to write, in this order. fp32 is made and verified in any case: the others come from it.
        verify_with: A text file to verify on, one input a line; by default texts of the sample.
        calibrate_with: The same to calibrate on; by default other texts of the sample.
        min_agreement: The least agreement with PyTorch that a variant other than fp32 may have, 0 to 1; by default that
            of `least_agreement`.
        max_tokens: The most tokens of a text that is verified, and that the runtime then takes.
        keep_passing: Keep the variants that pass where others fail.
        max_graph_bytes: A graph that is larger keeps its weights in a file of their own.
        force: Export again even if nothing changed.

    Returns:
        The manifest of the folder, and whether it was written anew.

    Raises:
        ExportError: The checkpoint cannot be found, loaded or converted, or its answers differ from PyTorch's.
        OptionError: There is no such dtype, a dtype is named twice, or a number is not possible.
        TaskError: There is no such task.

    Warns:
        ExportWarning: Pickles are read, code is run, or weights are random, because that was allowed; or a variant is
            left out.
    """
    _check_options(dtypes, min_agreement)
    check_whole_number("max_tokens", max_tokens, at_least=4, hint="Give a number of tokens from 4.")
    texts = verification_texts(verify_with)
    shown = {"verification": digest(texts)}
    chosen = None if task is None else find_task(task)
    calibration: list[str] = []
    if any(is_calibrated(dtype, chosen) for dtype in dtypes):
        calibration = calibration_texts(calibrate_with, texts)
    check_destination(out)
    with progress.step(f"Finding {model}"):
        source = find_source(model, read_options)
        chosen = chosen or source.task()
        if any(is_calibrated(dtype, chosen) for dtype in dtypes):
            shown["calibration"] = digest(calibration)
        planned = Manifest(
            task=chosen.name,
            source={**source.record(), "texts": shown},
            versions=_versions(),
            max_tokens=max_tokens,
        )
    current = _current(out)
    if current and not force and _same(current, planned, dtypes, min_agreement, chosen):
        return current, False

    with progress.step("Loading PyTorch, and checking that this can be exported"):
        preflight(source, chosen, out, dtypes)
    with staged(out) as folder:
        with progress.step("Loading the checkpoint"):
            loaded = load(source, chosen)
        from torchless_export.converters.optimum import convert

        with progress.step("Converting to ONNX"):
            convert(loaded, chosen, folder)
            for name, path in source.sentence_files():
                (folder / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / name)
        samples = make_samples(loaded, chosen, texts, max_tokens=max_tokens)
        with progress.step(f"Answering {len(samples)} texts with PyTorch"):
            reference = reference_answers(loaded, chosen, samples, progress.track)
        gate = _Gate(
            folder,
            chosen,
            reference,
            progress,
            min_agreement=min_agreement,
            max_graph_bytes=max_graph_bytes,
            keep=keep_passing,
        )
        with TemporaryDirectory(dir=folder, prefix=".rows-") as files:
            rows = Rows(Path(files))
            for dtype in ("fp32", *(dtype for dtype in dtypes if dtype != "fp32")):
                if is_calibrated(dtype, chosen) and not rows.runs:
                    with progress.step(f"Answering {len(calibration)} texts, to calibrate {dtype}"):
                        calibrate(folder, chosen, calibration, loaded.tokenizer.mask_token or "", rows)
                gate.make(dtype, rows)
        verified = gate.passed(dtypes)
        declare_data(folder, verified)
        planned = replace(planned, rejected=gate.rejected)
        manifest = replace(planned, variants=verified)
        manifest = replace(manifest, files=other_files(folder, manifest))
        manifest.write(folder)
    return manifest, True


class _Gate:
    """Makes variants, and keeps those that answer as PyTorch does.

    Args:
        folder: It holds the fp32 graphs.
        task: What they answer.
        reference: PyTorch's answers.
        progress: Shows the steps.
        min_agreement: The least agreement of a variant other than fp32; None for the default.
        max_graph_bytes: A graph that is larger keeps its weights in a file of their own.
        keep: Go on where a variant fails.

    Attributes:
        rejected: Why variants failed, by dtype.
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        reference: Reference,
        progress: Progress,
        *,
        min_agreement: float | None,
        max_graph_bytes: int,
        keep: bool,
    ) -> None:
        self.rejected: dict[str, str] = {}
        self._variants: dict[str, Variant] = {}
        self._folder, self._task, self._reference, self._progress = folder, task, reference, progress
        self._min_agreement, self._max_graph_bytes, self._keep = min_agreement, max_graph_bytes, keep

    def make(self, dtype: str, rows: Rows) -> None:
        """Make a variant, and verify it.

        Args:
            dtype: The variant.
            rows: What it is calibrated with.

        Raises:
            ExportError: It fails, and is fp32 or none may fail.
        """
        folder, task, calibrated = self._folder, self._task, is_calibrated(dtype, self._task)
        with self._progress.step("Verifying fp32" if dtype == "fp32" else f"Making and verifying {dtype}"):
            variant = make_variant(folder, task, dtype, rows, max_graph_bytes=self._max_graph_bytes)
            measured = measure(folder, task, dtype, self._reference, self._progress.track)
            least = least_agreement(dtype, task, self._min_agreement)
            problem = failure(dtype, self._reference, measured, min_agreement=least)
            if problem and self._keep and dtype != "fp32":
                self.rejected[dtype] = f"{problem}."
                _remove(variant, folder)
                return
            verification = check(dtype, self._reference, measured, task, min_agreement=least, calibrated=calibrated)
        self._variants[dtype] = replace(
            variant,
            verification=verification,
            batch_dependent=variant.batch_dependent or measured.batch_dependent,
        )

    def passed(self, dtypes: Sequence[str]) -> dict[str, Variant]:
        """Return the variants that passed; the files of fp32 are removed if `dtypes` does not name it.

        Args:
            dtypes: The variants that the caller named.

        Raises:
            ExportError: None of them passed.

        Warns:
            ExportWarning: One of them failed.
        """
        if "fp32" not in dtypes:
            _remove(self._variants.pop("fp32"), self._folder)
        found = {dtype: self._variants[dtype] for dtype in dtypes if dtype in self._variants}
        if not found:
            raise ExportError(f"No variant passed: {' '.join(self.rejected.values())}", hint="Add fp32 to --dtype.")
        for dtype, reason in self.rejected.items():
            warnings.warn(f"{dtype} is left out. {reason}", ExportWarning, stacklevel=3)
        return found


def _remove(variant: Variant, folder: Path) -> None:
    for part in variant.parts:
        (folder / part.file).unlink()


def _check_options(dtypes: tuple[str, ...], min_agreement: float | None) -> None:
    if not dtypes:
        raise OptionError("There is no dtype to export.", hint=f"Name one or more of: {', '.join(VARIANTS)}")
    for dtype in dtypes:
        if dtype not in VARIANTS:
            raise OptionError(f"There is no export of dtype {dtype!r}.", hint=nearest(dtype, VARIANTS))
    twice = next((dtype for dtype in dtypes if dtypes.count(dtype) > 1), None)
    if twice:
        raise OptionError(
            f"The dtype {twice!r} is named twice.", hint=f"Name each once: {','.join(dict.fromkeys(dtypes))}"
        )
    if min_agreement is not None and not 0 <= min_agreement <= 1:
        raise OptionError(f"min_agreement={min_agreement} is not a share.", hint="Give a share of texts, 0 to 1.")


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _MAKERS}}


def _current(out: Path) -> Manifest | None:
    """Return the manifest of an export that is there and whole."""
    try:
        folder = ModelFolder(out)
        for dtype in folder.manifest.variants if folder.manifest else ():
            folder.graphs(dtype)
        folder.file("tokenizer.json")
    except CheckpointError:
        return None
    return folder.manifest


def _same(
    current: Manifest, planned: Manifest, dtypes: tuple[str, ...], min_agreement: float | None, task: Task
) -> bool:
    return (
        replace(current, variants={}, files={}) == replace(planned, variants={}, files={})
        and set(current.variants) == set(dtypes)
        and all(
            variant.verification is not None
            and variant.verification.agreement >= least_agreement(dtype, task, min_agreement)
            for dtype, variant in current.variants.items()
            if dtype != "fp32"
        )
    )
