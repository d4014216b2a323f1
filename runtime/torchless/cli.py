"""The command `torchless`: `run`, `inspect` and `serve` here, and the commands that the other packages bring."""

import json
import sys
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import Any

from torchless.errors import MissingExtraError, TorchlessError

__all__ = ["main"]


def main() -> None:
    """Run the command line; an error of this library is one line and exit status 1."""
    try:
        _app()()
    except TorchlessError as error:
        sys.exit(f"torchless: {error.problem} {error.hint}")


def shorten(line: str, width: int = 300) -> str:
    """Return a line that fits a screen: an example's hidden states would fill many."""
    return line if len(line) <= width else line[: width - 1] + "…"


def _app() -> Any:
    try:
        import typer
    except ImportError as error:
        raise MissingExtraError("The command line", extra="cli") from error

    def version(show: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:  # noqa: FBT003 - typer's way
        if show:
            from torchless import __version__

            typer.echo(__version__)
            raise typer.Exit

    def run(
        model: str = typer.Argument(help="The exported folder, or a name on the Hub."),
        texts: list[str] | None = typer.Argument(None, help="The texts.  [default: the task's examples]"),
        task: str | None = typer.Option(None, help="The task.  [default: what the folder was exported for]"),
        dtype: str = typer.Option("fp32", help="The variant."),
        revision: str | None = typer.Option(None, help="A branch, tag or commit on the Hub."),
        file_name: str | None = typer.Option(None, help="The graph's own name, instead of a dtype."),
        threads: int | None = typer.Option(None, help="Threads a run.  [default: what the machine grants]"),
        provider: str | None = typer.Option(None, help="What computes: cuda, openvino, …  [default: the CPU]"),
    ) -> None:
        """Answer texts, a line of JSON each, without PyTorch."""
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
        for text in texts or pipe.example_inputs():
            output = pipe(text, **({} if texts else pipe.example_options))
            line = json.dumps({"input": text, "output": output}, ensure_ascii=False)
            typer.echo(line if texts else shorten(line))

    def inspect(
        model: str = typer.Argument(help="The exported folder, or a name on the Hub."),
        revision: str | None = typer.Option(None, help="A branch, tag or commit on the Hub."),
        graph: str | None = typer.Option(None, help="Load this variant, and print what it takes and answers."),
        as_json: bool = typer.Option(False, "--json", help="Print JSON."),  # noqa: FBT003 - as above
    ) -> None:
        """Print what a folder holds, and how it was verified. No graph is loaded or downloaded unless asked for."""
        from torchless.folder.hub import open_folder
        from torchless.inspection.inspection import inspect as gather
        from torchless.inspection.inspection import inspect_graph
        from torchless.inspection.report import report

        folder = open_folder(model, revision=revision, dtype=graph)
        found = gather(folder)
        declared = [] if graph is None else [inspect_graph(path) for path in folder.graphs(graph)]
        if as_json:
            values = {**asdict(found), "graphs": [asdict(graph_inspection) for graph_inspection in declared]}
            typer.echo(json.dumps(values, indent=2, ensure_ascii=False))
        else:
            report(found, declared)

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
