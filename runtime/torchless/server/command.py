"""The command `torchless serve`, with one flag for each setting."""

import os
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import typer

from torchless.errors import MissingExtraError, OptionError

__all__ = ["add_serve_command"]

_HELP = "Serve models over HTTP. Each setting is also an environment variable TORCHLESS_…."


def add_serve_command(app: typer.Typer) -> None:
    """Add the command `serve` to an application.

    Without the packages of the server, the command raises an error that says how to install them.
    """
    try:
        from torchless.server.settings import Settings, setting_infos
    except ImportError as error:
        cause = error

        @app.command("serve", help=_HELP, context_settings={"ignore_unknown_options": True})
        def unavailable(arguments: list[str] | None = typer.Argument(None, hidden=True)) -> None:  # noqa: ARG001
            raise MissingExtraError("The server", extra="serve") from cause

        return

    def serve(models: list[str] | None, config: Path | None, print_config: bool | None, **flags: Any) -> None:
        values = {name: value for name, value in flags.items() if value not in (None, [])}
        settings = Settings.load({**values, "models": models or None}, os.environ, config)
        if print_config:
            typer.echo(settings.to_toml())
            return
        if not settings.models:
            raise OptionError("There is no model to serve.", hint="Give a folder: torchless serve models/sentiment")
        try:
            from torchless.server.process import serve as run
        except ImportError as error:
            raise MissingExtraError("The server", extra="serve") from error
        run(settings)

    models_help = "Exported folders, or names on the Hub. By default, a model has the name of its folder."
    config_help = "A TOML file with these settings; flags and environment variables override it."
    options: list[tuple[str, Any, Any]] = [
        ("models", list[str], typer.Argument(None, metavar="[NAME=]FOLDER...", help=models_help)),
        ("config", Path, typer.Option(None, help=config_help)),
        *(
            (
                info.name,
                info.kind,
                typer.Option(None, info.flag, help=info.description, show_default=info.default or False),
            )
            for info in setting_infos()
            if info.name != "models"
        ),
        ("print_config", bool, typer.Option(None, "--print-config", help="Print the effective settings, and exit.")),
    ]
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind | None)
        for name, kind, default in options
    ]
    serve.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.command("serve", help=_HELP)(serve)
