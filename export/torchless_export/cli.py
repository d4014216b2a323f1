"""`torchless export`."""

import logging
import os
import signal
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from torchless.checkpoint import Manifest
from torchless.errors import ExportWarning, MissingExtraError
from torchless.inspection_report import verification_cells

__all__ = [
    "AllowPickle",
    "BaseModel",
    "ConsoleProgress",
    "TrustRemoteCode",
    "export",
    "quieten",
    "require_pytorch",
]

# What says how a checkpoint is read, for each command that reads one.
AllowPickle: TypeAlias = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pickled weights, which can run code.")
]
BaseModel: TypeAlias = Annotated[str | None, typer.Option(help="For an adapter: the folder or name of its base.")]
TrustRemoteCode: TypeAlias = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the checkpoint brings.")
]


class ConsoleProgress:
    """Says on a console what an export is doing: a line a step, and bars where someone is watching."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and say how long it took."""
        self._console.print(f"{title} …", highlight=False)
        start = time.perf_counter()
        yield
        self._console.print(f"  done in {time.perf_counter() - start:.1f} s", style="dim", highlight=False)

    def track(self, texts: Sequence[Any], title: str) -> Iterable[Any]:
        """Show how far a loop over texts is."""
        hidden = not self._console.is_terminal
        return track(texts, description=f"  {title}", console=self._console, transient=True, disable=hidden)


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
    trust_remote_code: TrustRemoteCode = False,
    verify_with: Annotated[
        Path | None, typer.Option(help="A file to verify on, one input a line.  [default: texts of a sample]")
    ] = None,
    calibrate_with: Annotated[
        Path | None, typer.Option(help="A file to calibrate q8 on, one input a line.  [default: the same]")
    ] = None,
    min_agreement: Annotated[
        float, typer.Option(help="The least agreement with PyTorch that a variant may have, 0 to 1.")
    ] = 0.99,
    force: Annotated[bool, typer.Option("--force", help="Export again even if nothing changed.")] = False,
) -> None:
    """Turn a checkpoint into a folder that runs without PyTorch, and verify it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    quieten()
    require_pytorch("torchless export")
    from torchless_export.export import export as run

    console = Console(soft_wrap=True)
    folder = out or Path("models") / Path(model).name
    manifest, anew = run(
        model,
        folder,
        ConsoleProgress(console),
        task=task,
        dtypes=tuple(name.strip() for name in dtype.split(",")),
        base_model=base_model,
        revision=revision,
        allow_pickle=allow_pickle,
        allow_random_head=allow_random_head,
        trust_remote_code=trust_remote_code,
        verify_with=verify_with,
        calibrate_with=calibrate_with,
        min_agreement=min_agreement,
        force=force,
    )
    state = "Exported" if anew else "Up to date (--force exports again):"
    console.print(f"{state} {folder}: {manifest.task}", highlight=False)
    console.print(_table(manifest))


def require_pytorch(feature: str) -> None:
    """Raise unless what the export needs is installed, without importing it: that takes seconds.

    Args:
        feature: What was asked for.

    Raises:
        MissingExtraError: It is not.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers", "optimum", "onnx")):
        raise MissingExtraError(feature, extra="export")


def _table(manifest: Manifest) -> Table:
    table = Table("variant", "size", "max |Δ|", "mean |Δ|", "agreement", "ms a text")
    for column in table.columns[1:]:
        column.justify = "right"
    whole = manifest.variants.get("fp32")
    for name, variant in manifest.variants.items():
        measured = variant.verification
        if measured is None:
            continue
        agreement, largest, mean, ms_per_text, reference_ms_per_text = verification_cells(measured)
        if not table.rows:
            table.add_row("PyTorch", "", "", "", "", reference_ms_per_text)
        share = f" ({variant.size_bytes / whole.size_bytes:.0%})" if whole and variant is not whole else ""
        size = f"{variant.size_bytes / 1e6:.1f} MB{share}"
        table.add_row(name, size, largest, mean, agreement, ms_per_text)
    return table


def _stop(number: int, _frame: object) -> NoReturn:
    """End as a command does that a signal ends, once what was begun is removed."""
    raise SystemExit(128 + number)


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    """Show a warning of ours as one line, and another's as Python does."""
    ours = issubclass(category, ExportWarning)
    typer.echo(
        f"torchless: {message}" if ours else warnings.formatwarning(message, category, filename, lineno), err=True
    )


def quieten() -> None:
    """Keep the libraries' own chatter off the screen; what matters comes as an error."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.getLogger("optimum").setLevel(logging.ERROR)
    warnings.showwarning = _warn
    warnings.filterwarnings("ignore", module=r"(torch|transformers|optimum|peft)\.")
