"""`torchless export`: turn a checkpoint into a folder that runs without PyTorch, and verify it."""

import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from torchless.folder.manifest import Manifest
from torchless.inspection.report import least_similarity, verification_cells
from torchless_export.commands.console import (
    AllowPickle,
    AllowUnknownConfig,
    BaseModel,
    ConsoleProgress,
    TrustRemoteCode,
    quieten,
    require_pytorch,
)
from torchless_export.source.source import ReadOptions

__all__ = ["export"]


def export(
    model: Annotated[str, typer.Argument(help="A folder, a name on the Hub, or a PEFT adapter.")],
    out: Annotated[Path | None, typer.Argument(help="The folder to write.  [default: models/NAME]")] = None,
    task: Annotated[str | None, typer.Option(help="What to export it for.  [default: what it was trained for]")] = None,
    dtype: Annotated[str, typer.Option(help="The variants to write, separated by commas: fp32,q8.")] = "fp32",
    base_model: BaseModel = None,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit on the Hub.")] = None,
    allow_pickle: AllowPickle = False,
    allow_random_head: Annotated[
        bool, typer.Option("--allow-random-head", help="Accept a head that the checkpoint has no weights for.")
    ] = False,
    allow_unknown_config: AllowUnknownConfig = False,
    trust_remote_code: TrustRemoteCode = False,
    verify_with: Annotated[
        Path | None, typer.Option(help="A file to verify on, one input a line.  [default: texts of a sample]")
    ] = None,
    calibrate_with: Annotated[
        Path | None, typer.Option(help="A file to calibrate on, one input a line.  [default: the same]")
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            help="The least agreement with PyTorch that a variant may have, 0 to 1.  "
            "[default: 0.99; for a decoder's next tokens 0.9, and 0.8 with 4 bits]"
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="The most tokens of a text.  [default: what the model takes]")
    ] = None,
    keep_passing: Annotated[
        bool, typer.Option("--keep-passing", help="Keep the variants that pass the verification where others fail.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Export again even if nothing changed.")] = False,
) -> None:
    """Turn a checkpoint into a folder that runs without PyTorch, and verify it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    quieten()
    require_pytorch("torchless export")
    from torchless_export.export import export as run

    console = Console(soft_wrap=True, markup=False)
    folder = out or Path("models") / Path(model).name
    manifest, anew = run(
        model,
        folder,
        ConsoleProgress(console),
        task=task,
        dtypes=tuple(name.strip() for name in dtype.split(",")),
        read_options=ReadOptions(
            revision=revision,
            base_model=base_model,
            allow_pickle=allow_pickle,
            allow_random_head=allow_random_head,
            allow_unknown_config=allow_unknown_config,
            trust_remote_code=trust_remote_code,
        ),
        verify_with=verify_with,
        calibrate_with=calibrate_with,
        min_agreement=min_agreement,
        max_tokens=max_tokens,
        keep_passing=keep_passing,
        force=force,
    )
    state = "Exported" if anew else "Up to date (--force exports again):"
    console.print(f"{state} {folder}: {manifest.task}", highlight=False)
    console.print(_table(manifest))


def _table(manifest: Manifest) -> Table:
    table = Table("variant", "size", "max\n|Δ|", "mean\n|Δ|", "agreement", "least\nalike", "ms a\ntext")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    fp32 = manifest.variants.get("fp32")
    for name, variant in manifest.variants.items():
        measured = variant.verification
        if measured is None:
            continue
        agreement, largest, mean, ms_per_text, reference_ms_per_text = verification_cells(measured)
        if not table.rows:
            table.add_row("PyTorch", "", "", "", "", "", reference_ms_per_text)
        share = f" ({variant.size_bytes / fp32.size_bytes:.0%})" if fp32 and variant is not fp32 else ""
        size = f"{variant.size_bytes / 1e6:.1f} MB{share}"
        table.add_row(name, size, largest, mean, agreement, least_similarity(measured), ms_per_text)
    return table


def _stop(number: int, _frame: object) -> NoReturn:
    """End as a command does that a signal ends, once what was begun is removed."""
    raise SystemExit(128 + number)
