"""`torchless verify`: whether a folder is what its manifest says; its files without PyTorch, its answers with it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from torchless.errors import CheckpointError, ExportError, OptionError
from torchless.folder.manifest import Manifest, Verification
from torchless.folder.model_folder import ModelFolder
from torchless.inspection.report import verification_cells
from torchless.tokenization.tokenizer import Tokenizer
from torchless_export.commands.console import (
    AllowPickle,
    AllowUnknownConfig,
    BaseModel,
    ConsoleProgress,
    TrustRemoteCode,
    quieten,
    require_pytorch,
)
from torchless_export.hashes import faults, unlisted
from torchless_export.source.loading import load
from torchless_export.source.source import ReadOptions, Source, find_source
from torchless_export.verification.samples import make_samples
from torchless_export.verification.texts import verification_texts
from torchless_export.verification.verify import (
    Measurement,
    Reference,
    failure,
    least_agreement,
    measure,
    reference_answers,
    with_float32_tolerance,
)

__all__ = ["verify"]

_PIPED_WIDTH = 200


def verify(
    folder: Annotated[Path, typer.Argument(help="The exported folder.")],
    against: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="Also measure anew, against this checkpoint in PyTorch.")
    ] = None,
    base_model: BaseModel = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit of the checkpoint on the Hub.")] = None,
    allow_pickle: AllowPickle = False,
    allow_unknown_config: AllowUnknownConfig = False,
    trust_remote_code: TrustRemoteCode = False,
    verify_with: Annotated[
        Path | None, typer.Option(help="A file of texts, one input a line.  [default: texts of a sample]")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="The least agreement with PyTorch that a variant may have.  "
            "[default: 0.99; for a decoder's next tokens 0.9, and 0.8 with 4 bits]",
        ),
    ] = None,
) -> None:
    """Check a folder's files against its manifest and, with --against, its answers against PyTorch."""
    if against is None and (base_model or revision or verify_with or allow_pickle or trust_remote_code):
        raise OptionError(
            "Only a measurement takes --base-model, --revision, --verify-with, --allow-pickle and --trust-remote-code.",
            hint="Name what to measure against: --against CHECKPOINT",
        )
    exported = ModelFolder(folder)
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    console = Console(soft_wrap=True, markup=False, highlight=False, width=width)
    if exported.manifest is not None:
        _check_files(exported.path, exported.manifest, console)
    elif against is None:
        raise CheckpointError(
            f"{folder} has no manifest, so nothing says what its files should be.",
            hint=f"Measure it: torchless verify {folder} --against CHECKPOINT",
        )
    Tokenizer.from_folder(exported)
    if against is None:
        return
    require_pytorch("torchless verify --against")
    quieten()
    read_options = ReadOptions(
        revision=revision,
        base_model=base_model,
        allow_pickle=allow_pickle,
        allow_unknown_config=allow_unknown_config,
        trust_remote_code=trust_remote_code,
    )
    source = find_source(against, read_options)
    if exported.manifest and _hashes(source.record()) != _hashes(exported.manifest.source):
        console.print(f"{against} is not what {folder} was exported from: its files have other hashes.")
    declared = (
        {dtype: variant.verification for dtype, variant in exported.manifest.variants.items()}
        if exported.manifest
        else dict.fromkeys(exported.dtypes())
    )
    reference, measured = _measured(
        exported, list(declared), source, verification_texts(verify_with), ConsoleProgress(console)
    )
    console.print(_table(declared, measured))
    problems = [
        failure(dtype, reference, found, min_agreement=least_agreement(dtype, exported.task(), min_agreement))
        for dtype, found in measured.items()
    ]
    failures = [problem for problem in problems if problem]
    if failures:
        raise ExportError(
            f"{folder} failed its verification: {'; '.join(failures)}.",
            hint="Export the checkpoint again; for variants other than fp32, --min-agreement accepts less.",
        )


def _check_files(folder: Path, manifest: Manifest, console: Console) -> None:
    """Say what is wrong with a folder's files, and raise if anything is."""
    found = list(faults(folder, manifest))
    for fault in found:
        console.print(f"{fault.file} {fault.problem}.")
    for name in unlisted(folder, manifest):
        console.print(f"{name} is not in the manifest, so it was not verified.")
    files = len(manifest.parts) + len(manifest.files)
    if found:
        raise CheckpointError(
            f"{len(found)} of {files} files of {folder} are not what the manifest lists.",
            hint="Copy the folder again, or export the checkpoint again.",
        )
    console.print(f"{folder}: {files} of {files} files are what the manifest lists.")


def _hashes(record: Mapping[str, Any]) -> list[Any]:
    """Return the hashes of the files of a checkpoint and of its base."""
    return [record.get("files"), *(_hashes(record["base"]) if "base" in record else ())]


def _measured(
    folder: ModelFolder, dtypes: Sequence[str], source: Source, texts: Sequence[str], progress: ConsoleProgress
) -> tuple[Reference, dict[str, Measurement]]:
    """Return PyTorch's answers, and how each variant compares with them today."""
    task = folder.task()
    with progress.step(f"Loading {source.name}"):
        loaded = load(source, task)
    samples = make_samples(loaded, task, texts, max_tokens=folder.manifest.max_tokens if folder.manifest else None)
    with progress.step(f"Measuring on {len(samples)} texts"):
        reference = reference_answers(loaded, task, samples, progress.track)
        measured = {dtype: measure(folder.path, task, dtype, reference, progress.track) for dtype in dtypes}
    if "fp32" in measured:
        reference = with_float32_tolerance(reference, measured["fp32"], task)
    return reference, measured


def _table(declared: Mapping[str, Verification | None], measured: Mapping[str, Measurement]) -> Table:
    """Return a table of the manifest's figures and the measured ones."""
    table = Table("variant", "", "agreement", "max |Δ|", "mean |Δ|", "ms a text", "PyTorch")
    for column in table.columns[2:]:
        column.justify = "right"
    for dtype, now in measured.items():
        before = declared[dtype]
        table.add_row(dtype, "manifest", *(verification_cells(before) if before else ["nothing"]))
        table.add_row("", "measured", *verification_cells(now.verification))
    return table
