"""The command `torchless`, with its subcommands `run`, `inspect` and `serve`, and those of other packages."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import entry_points
from math import isfinite
from typing import Any

from torchless.errors import MissingExtraError, OptionError, TorchlessError

__all__ = ["main"]

_MAX_EXAMPLE_CHARACTERS = 300  # the hidden states of an example would fill many screens


def main() -> None:
    """Run the command line. An error of this library is printed in one line, and the exit status is 1."""
    try:
        _app()()
    except TorchlessError as error:
        sys.exit(f"torchless: {error.problem} {error.hint}")


def _json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON: null for a number that JSON does not have, and escapes for what is no character."""
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _option(text: str) -> tuple[str, Any]:
    """Return the name and the value of an option.

    Raises:
        OptionError: There is no value.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"--option {text} has no value.", hint=f"Add it: --option {text}=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _app() -> Any:
    try:
        import typer
    except ImportError as error:
        raise MissingExtraError("The command line", extra="cli") from error

    def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:  # noqa: FBT003 - as typer needs it
        if show:
            from torchless import __version__

            typer.echo(__version__)
            raise typer.Exit

    def run(
        model: str = typer.Argument(help="The exported folder, or a name on the Hub."),
        texts: list[str] | None = typer.Argument(None, help="The texts.  [default: the task's examples]"),
        task: str | None = typer.Option(None, help="The task.  [default: the task of the export]"),
        dtype: str = typer.Option("fp32", help="The variant."),
        revision: str | None = typer.Option(None, help="A branch, tag or commit on the Hub."),
        file_name: str | None = typer.Option(None, help="The file name of the graph, instead of a dtype."),
        threads: int | None = typer.Option(None, help="Threads for each run.  [default: all available CPU cores]"),
        provider: str | None = typer.Option(None, help="The execution provider: cuda, openvino, …  [default: the CPU]"),
        option: list[str] | None = typer.Option(
            None, metavar="NAME=VALUE", help="An option of the pipeline; the value is JSON or text. It can be repeated."
        ),
    ) -> None:
        """Answer texts without PyTorch: one line of JSON for each text."""
        from torchless import pipeline

        pipe = pipeline(
            task,
            model,
            dtype=dtype,
            revision=revision,
            file_name=file_name,
            threads=threads,
            providers=provider,
        )
        options = {**({} if texts else pipe.example_options), **dict(map(_option, option or ()))}
        for text in texts or pipe.example_inputs():
            output = pipe(text, **options)
            line = _json({"input": text, "output": output})
            if not texts and len(line) > _MAX_EXAMPLE_CHARACTERS:
                line = line[: _MAX_EXAMPLE_CHARACTERS - 1] + "…"
            typer.echo(line)

    def inspect(
        model: str = typer.Argument(help="The exported folder, or a name on the Hub."),
        revision: str | None = typer.Option(None, help="A branch, tag or commit on the Hub."),
        graph: str | None = typer.Option(None, help="Load this variant, and print its inputs and outputs."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),  # noqa: FBT003 - as above
    ) -> None:
        """Print the contents of a folder, and how it was verified. Only --graph loads or downloads a graph."""
        from torchless.folder.hub import open_folder
        from torchless.inspection.inspection import inspect as inspect_folder
        from torchless.inspection.inspection import inspect_graph
        from torchless.inspection.report import report

        folder = open_folder(model, revision=revision, dtype=graph)
        inspection = inspect_folder(folder)
        graphs = [] if graph is None else [inspect_graph(path) for path in folder.graphs(graph)]
        if as_json:
            values = {**asdict(inspection), "graphs": [asdict(item) for item in graphs]}
            typer.echo(_json(values, indent=2))
        else:
            report(inspection, graphs)

    from torchless.server.command import add_serve_command

    app = typer.Typer(
        help="transformers.pipeline() without PyTorch.",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback(invoke_without_command=True, no_args_is_help=True)(version)
    app.command()(run)
    app.command()(inspect)
    add_serve_command(app)
    for entry_point in entry_points(group="torchless.commands"):
        app.command(name=entry_point.name)(entry_point.load())
    return app
