"""What the commands share: options that say how a checkpoint is read, progress on a console, and quiet libraries."""

import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from torchless.errors import ExportWarning, MissingExtraError

__all__ = [
    "AllowPickle",
    "AllowUnknownConfig",
    "BaseModel",
    "ConsoleProgress",
    "TrustRemoteCode",
    "quieten",
    "require_pytorch",
]

# What says how a checkpoint is read, for each command that reads one.
AllowPickle: TypeAlias = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pickled weights, which can run code.")
]
AllowUnknownConfig: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-unknown-config", help="Accept configuration keys of a newer transformers that this one does not know."
    ),
]
BaseModel: TypeAlias = Annotated[str | None, typer.Option(help="For an adapter: the folder or name of its base.")]
TrustRemoteCode: TypeAlias = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that the checkpoint brings.")
]


class ConsoleProgress:
    """Prints the progress of an export: a line for each step, and bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a step, and the time that it took."""
        self._console.print(f"{title} …", highlight=False)
        start = time.perf_counter()
        yield
        self._console.print(f"  done in {time.perf_counter() - start:.1f} s", style="dim", highlight=False)

    def track(self, texts: Sequence[Any], title: str) -> Iterable[Any]:
        """Show the progress of a loop."""
        hidden = not self._console.is_terminal
        return track(texts, description=f"  {escape(title)}", console=self._console, transient=True, disable=hidden)


def require_pytorch(feature: str) -> None:
    """Raise unless what the export needs is installed, without importing it: that takes seconds.

    Args:
        feature: The command that needs them.

    Raises:
        MissingExtraError: It is not.
    """
    if any(find_spec(name) is None for name in ("torch", "transformers", "optimum", "onnx")):
        raise MissingExtraError(feature, extra="export")


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    """Show a warning of the export as one line, and other warnings as Python does."""
    is_export_warning = issubclass(category, ExportWarning)
    typer.echo(
        f"torchless: {message}" if is_export_warning else warnings.formatwarning(message, category, filename, lineno),
        err=True,
    )


def quieten() -> None:
    """Keep the libraries' own chatter off the screen; what matters comes as an error."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    logging.getLogger("optimum").setLevel(logging.ERROR)
    warnings.showwarning = _warn
    warnings.filterwarnings("ignore", module=r"(torch|transformers|optimum|peft)\.")
